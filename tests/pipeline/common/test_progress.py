from pipeline.common.progress import progress


def test_what_an_interrupted_run_did_is_done_and_counts_for_no_rate() -> None:
    with progress(10, "training", "steps", done=4) as bar:
        bar.update(1)
        state = bar.format_dict
    assert (state["n"], state["initial"], state["total"]) == (5, 4, 10)
