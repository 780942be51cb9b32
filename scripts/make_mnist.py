"""Packs the four original MNIST files into the archive that ships here.

    python scripts/make_mnist.py SOURCE_DIR

SOURCE_DIR holds train-images-idx3-ubyte, train-labels-idx1-ubyte,
t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or with .gz.
"""

import gzip
import hashlib
import io
import lzma
import sys
import tarfile
from pathlib import Path

from experiments import ConfigError, DataError
from experiments.cli.launch import run_script
from experiments.data import mnist
from experiments.data.images import check_sha256

SHA256 = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)


def main(argv: list[str]) -> None:
    """Verifies the originals and writes an archive that depends on them alone."""
    if len(argv) != 2:
        raise ConfigError("SOURCE_DIR: must be given")
    buffer = io.BytesIO()
    # Plain USTAR headers: TarInfo's defaults are mtime, uid and gid 0, no names.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, sha256 in sorted(zip(mnist.IDX_FILES, SHA256, strict=True)):
            plain, packed = Path(argv[1], name), Path(argv[1], f"{name}.gz")
            if plain.exists():
                content = plain.read_bytes()
            elif packed.exists():
                content = gzip.decompress(packed.read_bytes())
            else:
                raise DataError(f"{argv[1]} holds neither {name} nor {name}.gz")
            check_sha256(str(plain), content, sha256, "fetch the original")
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    archive = lzma.compress(buffer.getvalue(), preset=9 | lzma.PRESET_EXTREME)
    mnist.MNIST_PATH.write_bytes(archive)
    found = hashlib.sha256(archive).hexdigest()
    print(f"{mnist.MNIST_PATH}: {len(archive):,} bytes, SHA-256 {found}")
    if found != mnist.MNIST_SHA256:
        # Another release of xz may compress the same files differently.
        print("MNIST_SHA256 in experiments/data/mnist.py differs: put this value there")


if __name__ == "__main__":
    run_script(__doc__, main, sys.argv)
