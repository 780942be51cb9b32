"""MNIST from the archive of this repository."""

import io
import lzma
import os
import tarfile
from pathlib import Path

from experiments import DataError
from experiments.data import idx
from experiments.data.images import Source, check_sha256

MNIST_PATH = Path(__file__).with_name("mnist.tar.xz")
MNIST_SHA256 = "06bd71ad7daf76d73da6e912ceb0020f0ac992eb47a6675ba4e4554a73b29c92"
IDX_FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)


def read(path: str | os.PathLike = MNIST_PATH) -> Source:
    """Reads and verifies the archive that scripts/make_mnist.py writes.

    Raises:
        DataError: the archive is missing or its SHA-256 is wrong.
    """
    repair = "restore it with git checkout, or with scripts/make_mnist.py SOURCE_DIR"
    if not Path(path).is_file():
        raise DataError(f"{path} is missing: {repair}")
    archive = Path(path).read_bytes()
    check_sha256(str(path), archive, MNIST_SHA256, repair)
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(archive))) as tar:
        contents = [tar.extractfile(name).read() for name in IDX_FILES]
    arrays = [idx.parse(io.BytesIO(content)) for content in contents]
    return Source(
        images={"train": arrays[0], "test": arrays[2]},
        labels={"train": arrays[1], "test": arrays[3]},
        checksum=MNIST_SHA256,
    )
