"""Packs the four original MNIST files into the archive that ships here.

    python scripts/make_mnist.py SOURCE_DIR

SOURCE_DIR holds train-images-idx3-ubyte, train-labels-idx1-ubyte,
t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each plain or with .gz.
"""

import argparse
import gzip
import hashlib
import io
import lzma
import pathlib
import tarfile

from experiments.data import load as data


def read_original(source: pathlib.Path, name: str, sha256: str) -> bytes:
    """Returns one original file, decompressed and verified."""
    plain, compressed = source / name, source / f"{name}.gz"
    if plain.exists():
        content = plain.read_bytes()
    elif compressed.exists():
        content = gzip.decompress(compressed.read_bytes())
    else:
        raise SystemExit(f"{source} holds neither {name} nor {name}.gz")
    data.check_sha256(str(source / name), content, sha256, "fetch the original")
    return content


def pack(files: dict[str, bytes]) -> bytes:
    """Returns a tar.xz whose bytes depend on names and contents alone."""
    buffer = io.BytesIO()
    # Plain USTAR headers: TarInfo's defaults are mtime, uid and gid 0, no names.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
    return lzma.compress(buffer.getvalue(), preset=9 | lzma.PRESET_EXTREME)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source_dir", type=pathlib.Path)
    source = parser.parse_args().source_dir
    originals = zip(data.IDX_FILES, data.IDX_SHA256, strict=True)
    archive = pack({name: read_original(source, name, sha) for name, sha in originals})
    data.MNIST_PATH.write_bytes(archive)
    found = hashlib.sha256(archive).hexdigest()
    print(f"{data.MNIST_PATH}: {len(archive):,} bytes, SHA-256 {found}")
    if found != data.MNIST_SHA256:
        # Another release of xz may compress the same files differently.
        print("MNIST_SHA256 in experiments/data/load.py differs: put this value there")


if __name__ == "__main__":
    main()
