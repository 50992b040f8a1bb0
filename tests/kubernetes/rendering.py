"""Read a kustomization as `kubectl kustomize` does, as far as ours go; anything else in one is an error.

So that the manifests are checked where there is no kubectl; where there is one, a test compares the two.
"""

import copy
import os
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
# In an order in which each finds what it changes.
COMPONENTS = ["monitoring", "api-keys", "models-volume", "queue-autoscaling", "gpu"]
FIELDS = {"apiVersion", "kind", "namespace", "resources", "components", "patches", "images"}
# Lists that a strategic merge joins by a key; all others it replaces.
KEYS = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}


def combine(folder: Path, *components: str) -> Path:
    """Write a kustomization of the base and some components into a folder of its own."""
    names = [os.path.relpath(KUBERNETES / "components" / name, folder.resolve()) for name in components]
    base = os.path.relpath(KUBERNETES / "base", folder.resolve())
    settings = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({**settings, "resources": [base], "components": names})
    )
    return folder


class Unreadable(Exception):
    """A kustomization that says what this reader does not know, or names what is not there."""


def build(folder: Path) -> list[Manifest]:
    """All objects of a kustomization, as they would be applied. Raises Unreadable."""
    return render(folder, [])


def render(folder: Path, objects: list[Manifest]) -> list[Manifest]:
    """Add a folder's resources to `objects`, and do its changes to all of them, as a component does."""
    settings = yaml.safe_load((folder / "kustomization.yaml").read_text())
    refuse_unknown(settings, FIELDS, folder)
    for name in settings.get("resources", []):
        path = folder / name
        objects = [*objects, *(build(path) if path.is_dir() else read(path))]
    for name in settings.get("components", []):
        objects = render(folder / name, objects)
    for patch in settings.get("patches", []):
        objects = change(objects, patch, folder)
    for image in settings.get("images", []):
        rename(objects, image, folder)
    if len({identity(one) for one in objects}) < len(objects):
        raise Unreadable(f"{folder}: two objects of one name")
    for one in objects:
        if "namespace" in settings and one["kind"] != "Namespace":
            one["metadata"]["namespace"] = settings["namespace"]
    return objects


def read(path: Path) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def refuse_unknown(given: Manifest, known: set[str], folder: Path) -> None:
    if unknown := given.keys() - known:
        raise Unreadable(f"{folder}: this reader does not know {', '.join(sorted(unknown))}")


def change(objects: list[Manifest], patch: Manifest, folder: Path) -> list[Manifest]:
    """Apply one patch: operations on what `target` selects, if anything, or a part of a named object."""
    refuse_unknown(patch, {"path", "patch", "target"}, folder)
    content = yaml.safe_load(patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text())
    if "target" in patch:
        refuse_unknown(patch["target"], {"group", "kind", "name"}, folder)
        for one in objects:
            if selected(one, **patch["target"]):
                operate(one, content)
        return objects
    meant = [one for one in objects if identity(one) == identity(content)]
    if len(meant) != 1:
        raise Unreadable(f"{folder}: {len(meant)} objects for the patch of {identity(content)}")
    if content.pop("$patch", None) == "delete":
        return [one for one in objects if one is not meant[0]]
    merged = merge(meant[0], content)
    return [merged if one is meant[0] else one for one in objects]


def identity(one: Manifest) -> tuple[str, str, str]:
    return one["apiVersion"], one["kind"], one["metadata"]["name"]


def selected(one: Manifest, group: str, kind: str, name: str) -> bool:
    return (one["apiVersion"].rpartition("/")[0], *identity(one)[1:]) == (group, kind, name)


def operate(one: Manifest, operations: list[Manifest]) -> None:
    """JSON patch (RFC 6902): `add` and `replace`."""
    for operation in operations:
        *way, last = operation["path"].lstrip("/").split("/")
        place: Any = one
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        if operation["op"] not in {"add", "replace"} or not isinstance(place, dict):
            raise Unreadable(f"this reader does not know {operation}")
        if operation["op"] == "replace" and last not in place:
            raise Unreadable(f"nothing to replace at {operation['path']}")
        place[last] = operation["value"]


def merge(old: Any, new: Any, field: str = "") -> Any:
    """Strategic merge: mappings by their keys, the lists of KEYS by theirs, the rest is replaced."""
    if new is None or (isinstance(new, dict) and any(key.startswith("$") for key in new)):
        raise Unreadable(f"this reader takes nothing away: {field}: {new}")
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: merge(old.get(key), new.get(key, old.get(key)), key) for key in {**old, **new}}
    if isinstance(old, list) and isinstance(new, list) and field in KEYS and old is not new:
        key = KEYS[field]
        merged = {item[key]: item for item in old}
        for item in new:
            merged[item[key]] = merge(merged.get(item[key]), item)
        return list(merged.values())
    return copy.deepcopy(new)


def rename(objects: list[Manifest], image: Manifest, folder: Path) -> None:
    """Give a container's image another name and tag."""
    refuse_unknown(image, {"name", "newName", "newTag"}, folder)
    for one in objects:
        for container in one["spec"]["template"]["spec"]["containers"] if one["kind"] == "Deployment" else []:
            if container["image"] == image["name"]:
                container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"


def only(manifests: list[Manifest], kind: str) -> Manifest:
    [one] = all_of(manifests, kind)
    return one


def all_of(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def pod_of(manifests: list[Manifest]) -> Manifest:
    return only(manifests, "Deployment")["spec"]["template"]["spec"]


def environment(pod: Manifest) -> dict[str, str]:
    """The variables of the container, a reference to a resource as its value in the container."""
    [container] = pod["containers"]
    values = {}
    for variable in container["env"]:
        if "value" in variable:
            values[variable["name"]] = variable["value"]
        else:
            where, resource = variable["valueFrom"]["resourceFieldRef"]["resource"].split(".")
            values[variable["name"]] = str(container["resources"][where][resource])
    return values
