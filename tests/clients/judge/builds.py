"""What the suites need, made once and kept under target/clients.

Only package managers bring things in: Maven, Go modules, npm, and apt for a
tool the machine lacks. A build is skipped when nothing it reads has changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys

from .brokers import BUILT, ROOT
from .processes import Failed

HERE = os.path.join(ROOT, "tests", "clients")
TOOLS = {
    "javac": "openjdk-17-jdk-headless",
    "mvn": "maven",
    "go": "golang-go",
    "node": "nodejs",
    "npm": "npm",
}


def need(*tools):
    missing = [TOOLS[tool] for tool in tools if shutil.which(tool) is None]
    if not missing:
        return
    print(f"# installing {' '.join(missing)}", file=sys.stderr)
    apt = ["apt-get", "-y", "-qq"]
    if os.geteuid() != 0:
        apt = ["sudo", *apt]
    _run([*apt, "update"])
    _run([*apt, "install", "--no-install-recommends", *missing])


def _run(command, cwd=None):
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=900, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} failed:\n{done.stdout.decode('utf-8', 'replace')[-4000:]}")


def _files(*paths):
    """All files below these paths of tests/clients, sorted."""
    found = []
    for path in paths:
        path = os.path.join(HERE, path)
        if os.path.isfile(path):
            found.append(path)
        for folder, _, names in os.walk(path):
            found += [os.path.join(folder, name) for name in names]
    return sorted(found)


def _unless_fresh(name, inputs, build):
    """Runs `build(directory)` unless it ran for the same inputs before."""
    directory = os.path.join(BUILT, name)
    digest = hashlib.sha256()
    for path in inputs:
        digest.update(os.path.relpath(path, HERE).encode())
        with open(path, "rb") as source:
            digest.update(source.read())
    stamp = os.path.join(directory, "built-from")
    if os.path.exists(stamp) and open(stamp).read() == digest.hexdigest():
        return directory
    os.makedirs(directory, exist_ok=True)
    build(directory)
    with open(stamp, "w") as out:
        out.write(digest.hexdigest())
    return directory


def jars(name, pom):
    """Copies a pom's dependencies into target/clients/NAME/lib."""
    need("javac", "mvn")

    def build(directory):
        lib = os.path.join(directory, "lib")
        shutil.rmtree(lib, ignore_errors=True)
        goal = ["mvn", "-q", "-B", "-f", os.path.join(HERE, pom),
                "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
                f"-DoutputDirectory={lib}"]
        try:
            # What is there already needs no registry.
            _run([*goal, "-o"])
        except Failed:
            _run(goal)

    return os.path.join(_unless_fresh(f"{name}/jars", _files(pom), build), "lib", "*")


def classes(name, class_path, sources):
    need("javac")
    files = _files(*sources)

    def build(directory):
        for entry in os.listdir(directory):
            shutil.rmtree(os.path.join(directory, entry), ignore_errors=True)
        _run(["javac", "--release", "17", "-nowarn", "-d", directory, "-cp", class_path,
              *(path for path in files if path.endswith(".java"))])

    return _unless_fresh(f"{name}/classes", files, build)


def apache_jars():
    return jars("apache", "baseline/pom.xml")


def java_client(generation):
    """The class path of the Java judge with client49 or client5."""
    lib = jars(generation, f"java/{generation}/pom.xml")
    made = classes(generation, lib, ["java/src", f"java/{generation}/src"])
    return f"{made}:{lib}"


def apache_program(name):
    """The class path of a Java program of ours that uses the Apache jars."""
    lib = apache_jars()
    made = classes(name, lib, [f"{name}/src"])
    return f"{made}:{os.path.join(HERE, 'baseline', 'quiet')}:{lib}"


def go_client():
    need("go")
    return os.path.join(_unless_fresh("go", _files("go"), lambda directory: _run(
        ["go", "build", "-o", os.path.join(directory, "judge"), "."], cwd=os.path.join(HERE, "go"))), "judge")


def node_client():
    need("node", "npm")

    def build(directory):
        for name in os.listdir(os.path.join(HERE, "node")):
            shutil.copy(os.path.join(HERE, "node", name), directory)
        _run(["npm", "ci", "--no-audit", "--no-fund", "--silent", "--prefer-offline"], cwd=directory)

    return os.path.join(_unless_fresh("node", _files("node"), build), "judge.js")
