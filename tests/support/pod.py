"""Runs what the chart says: a rendered pod as a process of this machine.

Everything is taken from the pod's specification and its image's Dockerfile: entry point, command, arguments,
variables, mounted files, user, ports and probes. What differs from a cluster, and nothing else: mounts lie
below a folder, ports are free ones on the loopback interface, and the root file system is this machine's.
A pod that a cluster would not start (a key that its secret does not have, a variable that names a file which
nobody mounts, a port that nobody listens on) raises PodError.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from support.dockerfile import parse
from support.packaging import IMAGES, read
from tidegate.settings import PREFIX
from tidegate_cli.stack.ports import HOST, PortPool
from tidegate_cli.stack.probes import AtOnce, HttpReady
from tidegate_cli.stack.processes import ProcessSpec

Texts = Mapping[str, Mapping[str, str]]
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_IMAGE_BIN = "/opt/tidegate/bin"


class PodError(Exception):
    """The pod would not start in a cluster either; the message says why."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the namespace holds: texts of secrets and config maps by name and key.

    ``more`` are variables that are not the chart's, such as those that the embedded broker needs.
    """

    secrets: Texts
    config_maps: Texts = {}
    more: Mapping[str, str] = {}


class PodProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's first container as a process: how to start it, and where its probes and ports are.

    ``probes`` are URLs by the probe's name; ``ports`` are those of this machine by the port's name.
    ``mounted`` is where each mount path of the container lies here.
    """

    process: ProcessSpec
    probes: Mapping[str, str]
    ports: Mapping[str, int]
    mounted: Mapping[str, Path]


def pod_process(
    name: str, pod: Mapping[str, Any], folder: Path, around: Surroundings, ports: PortPool
) -> PodProcess:
    """Return a pod as a process, its files written below ``folder``; PodError as above."""
    container = pod["containers"][0]
    user = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    prefix = _as_user(user)
    mounted = _mount(pod, container, folder, around, owned=bool(prefix))
    entry, image = _image(container["image"])
    environment = {**image, **_variables(container, around)}
    environment, listening = _listen(container, environment, ports)
    environment = {key: _moved(key, value, mounted) for key, value in environment.items()}
    if "/tmp" in mounted:
        environment["TMPDIR"] = str(mounted["/tmp"])
    environment["PATH"] = environment["PATH"].replace(_IMAGE_BIN, str(Path(sys.executable).parent))
    command = [*(container.get("command") or entry), *container.get("args", ())]
    program = shutil.which(command[0], path=environment["PATH"])
    if program is None:
        raise PodError(f"{name}: the image has no program {command[0]}")
    probes = {each: _url(container[each], listening) for each in _PROBES if each in container}
    ready = probes.get("readinessProbe")
    return PodProcess(
        process=ProcessSpec(
            name=name,
            command=(*prefix, program, *command[1:]),
            env={**environment, **around.more},
            ready=AtOnce() if ready is None else HttpReady(ready),
            start_timeout_s=_start_s(container),
            stop_timeout_s=float(pod.get("terminationGracePeriodSeconds", 30)),
        ),
        probes=probes,
        ports=listening,
        mounted=mounted,
    )


def _image(reference: str) -> tuple[list[str], dict[str, str]]:
    """Return the entry point and the environment of one of our images, from its Dockerfile."""
    name = reference.rpartition("/")[2].partition("@")[0].partition(":")[0]
    if name not in IMAGES:
        raise PodError(f"{reference} is none of our images")
    final = parse(read(f"{IMAGES[name][0]}/Dockerfile")).final
    return final.one("ENTRYPOINT").exec_form(), final.environment()


def _variables(container: Mapping[str, Any], around: Surroundings) -> dict[str, str]:
    found = {}
    for each in container.get("env", ()):
        if "value" in each:
            value = each["value"]
            if "$(" in value:
                raise PodError(f"{each['name']} refers to another variable, which is not understood here")
        else:
            reference = each["valueFrom"]["secretKeyRef"]
            value = _text(around.secrets, reference["name"], reference["key"])
        found[each["name"]] = value
    return found


def _text(texts: Texts, name: str, key: str) -> str:
    try:
        return texts[name][key]
    except KeyError as error:
        raise PodError(f"{name} has no key {key}: the pod would wait for it for ever") from error


def _mount(
    pod: Mapping[str, Any], container: Mapping[str, Any], folder: Path, around: Surroundings, *, owned: bool
) -> dict[str, Path]:
    """Write what is mounted; return where each path lies."""
    volumes = {each["name"]: each for each in pod.get("volumes", ())}
    security = pod.get("securityContext", {})
    user, group = (security["runAsUser"], security["fsGroup"]) if owned else (-1, -1)
    folder.mkdir(parents=True)
    folder.chmod(0o711)
    mounted = {}
    for number, mount in enumerate(container.get("volumeMounts", ())):
        if mount["name"] not in volumes:
            raise PodError(f"{mount['mountPath']}: there is no volume {mount['name']}")
        if "subPath" in mount:
            raise PodError(f"{mount['mountPath']}: a sub-path is never replaced when its secret changes")
        volume, here = volumes[mount["name"]], folder / str(number)
        here.mkdir()
        mounted[mount["mountPath"]] = here
        if "emptyDir" in volume:
            os.chown(here, user, group)
            continue
        if "secret" in volume:
            source, name, texts = volume["secret"], volume["secret"]["secretName"], around.secrets
        else:
            source, name, texts = volume["configMap"], volume["configMap"]["name"], around.config_maps
        if name not in texts:
            raise PodError(f"there is no {name}: the pod would wait for it for ever")
        items = source.get("items") or [{"key": key, "path": key} for key in texts[name]]
        for item in items:
            file = here / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_text(texts, name, item["key"]), "utf-8")
            os.chown(file, -1, group)
            file.chmod(source.get("defaultMode", 0o644))
    return mounted


def _listen(
    container: Mapping[str, Any], environment: dict[str, str], ports: PortPool
) -> tuple[dict[str, str], dict[str, int]]:
    """Give each declared port a free one, to the container and to us."""
    changed, listening = dict(environment), {}
    for port in container.get("ports", ()):
        number = str(port["containerPort"])
        names = [
            key
            for key, value in environment.items()
            if key.startswith(PREFIX) and key.endswith("__PORT") and value == number
        ]
        if len(names) != 1:
            raise PodError(f"port {port['name']}: {names or 'nothing'} listens on {number}")
        host = f"{names[0].removesuffix('PORT')}HOST"
        if environment.get(host) != "0.0.0.0":
            raise PodError(f"port {port['name']}: {host} is {environment.get(host)}, which no probe reaches")
        listening[port["name"]] = ports.take()
        changed |= {names[0]: str(listening[port["name"]]), host: HOST}
    return changed, listening


def _moved(key: str, value: str, mounted: Mapping[str, Path]) -> str:
    """Return a value with its path here, if it is one below a mount."""
    for path, here in mounted.items():
        if PurePosixPath(value).is_relative_to(path):
            return str(here / PurePosixPath(value).relative_to(path))
    if key.startswith(PREFIX) and value.startswith("/"):
        raise PodError(f"{key} names {value}, which nobody mounts")
    return value


def _url(probe: Mapping[str, Any], ports: Mapping[str, int]) -> str:
    request = probe["httpGet"]
    if request["port"] not in ports:
        raise PodError(f"a probe asks the port {request['port']}, which the container does not declare")
    return f"http://{HOST}:{ports[request['port']]}{request['path']}"


def _start_s(container: Mapping[str, Any]) -> float:
    probe = container.get("startupProbe", {})
    return float(probe.get("periodSeconds", 10) * probe.get("failureThreshold", 6))


@functools.cache
def _can_be(user: int, group: int) -> bool:
    """Tell whether processes can be another user here: we are root, and he may read the environment."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    # Commands of ours replace themselves by another interpreter, so one must be found from within, too.
    code = (
        "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import tidegate_storer']))"
    )
    command = (*_setpriv(user, group), sys.executable, "-c", code)
    return subprocess.run(command, capture_output=True, cwd="/", check=False).returncode == 0


def _setpriv(user: int, group: int) -> tuple[str, ...]:
    drop = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    return ("setpriv", f"--reuid={user}", f"--regid={group}", *drop)


def _as_user(security: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what to start a command with, so that it is the pod's user; nothing where that cannot be."""
    if not security.get("runAsNonRoot") or security.get("capabilities") != {"drop": ["ALL"]}:
        raise PodError("the pod is not restricted")
    user, group = security["runAsUser"], security["runAsGroup"]
    if not _can_be(user, group):
        return ()
    program, *arguments = _setpriv(user, group)
    return (shutil.which(program) or program, *arguments)
