#!/usr/bin/env python3
"""Prints a bill of materials of the `verso` binary: CycloneDX 1.5, from what Cargo resolves for the release build.

deploy/sbom.py [--target x86_64-unknown-linux-gnu] > verso.cdx.json
"""

import json
import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def shipped(metadata):
    """The packages that end up in the binary: no tests, no benchmarks."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    names = {package["id"]: package["name"] for package in metadata["packages"]}
    waiting = [id for id, name in names.items() if name == "verso"]
    links = {}
    while waiting:
        id = waiting.pop()
        if id in links:
            continue
        links[id] = sorted(
            dependency["pkg"]
            for dependency in nodes[id]["deps"]
            if any(kind["kind"] in (None, "build") for kind in dependency["dep_kinds"])
        )
        waiting += links[id]
    return links


def main():
    target = sys.argv[2] if sys.argv[1:2] == ["--target"] else "x86_64-unknown-linux-gnu"
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    sums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    links = shipped(metadata)

    def reference(id):
        package = packages[id]
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(id):
        package = packages[id]
        described = {"type": "library", "bom-ref": reference(id), "name": package["name"], "version": package["version"]}
        described["purl"] = reference(id)
        if package.get("license"):
            # Cargo still allows the slash of old.
            described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if sums.get((package["name"], package["version"])):
            described["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
        return described

    root = next(id for id in links if packages[id]["name"] == "verso")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**component(root), "type": "application"}},
        "components": sorted((component(id) for id in links if id != root), key=lambda one: one["bom-ref"]),
        "dependencies": sorted(
            ({"ref": reference(id), "dependsOn": sorted({reference(other) for other in others})} for id, others in links.items()),
            key=lambda one: one["ref"],
        ),
    }
    json.dump(document, sys.stdout, indent=2)
    print()


main()
