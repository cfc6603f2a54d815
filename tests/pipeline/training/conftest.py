import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Layers this small gain nothing from more threads, and these wait for each other where other work runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
