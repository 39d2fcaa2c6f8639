"""A real SLURM of one node, on this machine, in a folder of its own and without an accounting database.

cred_expire: a job that is requeued waits that long, which is otherwise two minutes.
"""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
KillWait=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=60 State=UP
"""


def why_not():
    """A sentence if no SLURM can be started here, otherwise nothing."""
    lacks = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)]
    if lacks:
        return f"no SLURM here: {', '.join(lacks)} not found (apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "a SLURM of one's own takes root"


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch):
    """Start it, for as long as a test takes; sbatch and the like find it by SLURM_CONF."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, host=host, ports=_free_ports(2), cpus=os.cpu_count()))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    munge = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munged.pid"}
    munge.update({"log-file": folder / "munged.log", "seed-file": folder / "munge.seed"})
    # in the foreground, so that they are ours to stop
    commands = [
        ["munged", "--foreground", "--force", *(f"--{name}={value}" for name, value in munge.items())],
        ["slurmctld", "-D", "-f", conf],
        ["slurmd", "-D", "-f", conf, "-N", host],
    ]
    daemons = []
    try:
        for command in commands:
            daemons.append(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            )
            time.sleep(0.5)
        _wait_for_node(folder)
        yield folder
    finally:
        subprocess.run(["scancel", "--user=root"], capture_output=True)
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for_node(folder):
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        done = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "".join((folder / name).read_text()[-2000:] for name in ("slurmctld.log", "slurmd.log"))
    pytest.fail(f"SLURM did not start: {logs}")
