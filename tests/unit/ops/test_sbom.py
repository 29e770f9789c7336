"""The site's bill of materials."""

import json

from ops.sbom import ROOT, site_bom


def test_it_lists_exactly_what_ships() -> None:
    packages = json.loads((ROOT / "frontend" / "package-lock.json").read_text())["packages"]
    shipped = {
        (path.rpartition("node_modules/")[2], package["version"])
        for path, package in packages.items()
        if path and not package.get("dev")
    }
    bom = site_bom()
    assert {(part["name"], part["version"]) for part in bom["components"]} == shipped
    assert {"vue", "vue-router", "oidc-client-ts", "uplot"} <= {name for name, _ in shipped}
    assert "vite" not in json.dumps(bom)
    # All that is said to be needed is listed.
    listed = {found["ref"] for found in bom["dependencies"]}
    assert {ref for found in bom["dependencies"] for ref in found["dependsOn"]} <= listed
