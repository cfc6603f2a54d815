"""`python -m fuzzing READER --seconds 60`: coverage-guided fuzzing of a reader with atheris, which must be installed manually.

Every input is a damaged valid file, or any bytes. The reader must read it or raise UserError. Any other error, and an input that takes
longer than ten seconds, ends the run and is written to a file. `--list` prints the readers.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: `pip install atheris`, for Linux")

with atheris.instrument_imports(include=["pipeline", "stages", "ruamel.yaml"]):
    from pipeline.common.errors import UserError
    from tests.faults.readers import Reader, readers

    READERS = readers()

from tests.faults.damage import damaged, damaged_bytes

RAW = 32
"""Of 256 first bytes, this many mean that the rest is the file. The others mean that the rest chooses the damage to a valid file."""


SEEDS, SEED_BYTES = 32, 48
"""Number and size of the random inputs that a run begins with, beside the valid file."""


def damaged_file(reader: Reader, valid: Any, data: bytes) -> bytes:
    """Return the file that an input of the fuzzer represents."""
    if not data or data[0] < RAW:
        return data[1:]
    provider = atheris.FuzzedDataProvider(data[1:])

    def choose(count: int) -> int:
        return int(provider.ConsumeIntInRange(0, count - 1))

    if reader.form == "bytes":
        return damaged_bytes(valid, choose)
    document = damaged(valid, choose)
    try:
        encoded = reader.encoded(document)
    except (ValueError, RecursionError):
        return b""
    return damaged_bytes(encoded, choose) if data[0] % 4 == 0 else encoded


def main() -> None:
    """Parse options, then run libFuzzer, which ends the process."""
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("reader", nargs="?", choices=sorted(READERS), metavar="READER")
    parser.add_argument("--list", action="store_true", help="print the readers")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder of inputs to begin with and to add to")
    options = parser.parse_args()
    if options.list or not options.reader:
        print("\n".join(READERS))
        return
    reader, valid = READERS[options.reader], READERS[options.reader].valid()
    folder = Path(tempfile.mkdtemp(prefix="fuzzing-"))
    path = folder / f"file{reader.suffix}"
    path.write_bytes(reader.encoded(valid))
    reader.read(path)
    corpus = options.corpus or folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "valid").write_bytes(b"\0" + reader.encoded(valid))
    noise = random.Random(options.seed)
    for number in range(SEEDS):
        (corpus / f"noise-{number}").write_bytes(
            bytes([RAW + noise.randrange(256 - RAW)]) + noise.randbytes(SEED_BYTES)
        )

    def one(data: bytes) -> None:
        path.write_bytes(damaged_file(reader, valid, data))
        try:
            reader.read(path)
        except UserError as error:
            assert "\n" not in str(error), str(error)

    flags = [
        f"-max_total_time={options.seconds}",
        f"-seed={options.seed}",
        "-timeout=10",
        "-max_len=4096",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *flags, f"-artifact_prefix={folder}/"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
