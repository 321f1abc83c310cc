"""Jobs: they run when they should, one at a time, and end."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.kubernetes import cron
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_CRON_JOBS = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"
_JOBS = "https://kubernetes.io/docs/concepts/workloads/controllers/job/"

_LEAST_JOB_S = 60
"""For a volume to be made and a pod to start."""

_LEAST_DEADLINE_S = 10
"""The controller looks every 10 s."""


@rule(_CRON_JOBS)
def job_outlasts_schedule(objects: Objects) -> Iterator[Problem]:
    """A CronJob's Job is given up before the next one is due.

    Else with concurrencyPolicy Forbid the next is left out, and with Replace it kills this one.
    """
    for workload in _of_kind(objects, "CronJob"):
        path: Where = ("spec", "jobTemplate", "spec", "activeDeadlineSeconds")
        between = cron.interval(str(workload.get("spec", "schedule")))
        policy, longest = workload.get("spec", "concurrencyPolicy"), workload.get(*path)
        if policy not in ("Forbid", "Replace") or not isinstance(longest, int):
            continue
        if longest >= between:
            then = "is left out" if policy == "Forbid" else "kills it"
            message = (
                f"a Job may take {longest} s (activeDeadlineSeconds), and the next, due after "
                f"{between} s, {then}"
            )
            fix = f"begin less often, or write activeDeadlineSeconds below {between}"
            yield Problem(workload.manifest, ("spec", "schedule"), message, fix)


@rule(f"{_CRON_JOBS}#schedule-syntax", outcome=Outcome.HIDDEN)
def schedule_never_runs(objects: Objects) -> Iterator[Problem]:
    """A CronJob's schedule names a day that its months have.

    Else no Job ever begins, and no backup is made.
    """
    for workload in _of_kind(objects, "CronJob"):
        if not cron.comes(str(workload.get("spec", "schedule"))):
            said = workload.get("spec", "schedule")
            message = f"{said}: no month that it names has such a day, so no Job ever begins"
            fix = "write a day of the month that there is, or *"
            yield Problem(workload.manifest, ("spec", "schedule"), message, fix)


@rule(f"{_JOBS}#handling-pod-and-container-failures", outcome=Outcome.REJECTED)
def invalid_job_restart_policy(objects: Objects) -> Iterator[Problem]:
    """The pod of a Job has the restartPolicy Never or OnFailure.

    The API server refuses Always, which is the default, and the sync fails or does not begin.
    """
    for workload in _of_kind(objects, "CronJob", "Job"):
        path, said = workload.pod_path, workload.pod_spec.get("restartPolicy")
        if said in (None, "Always"):
            message = f"restartPolicy of a Job is {said or 'not said'}: Kubernetes refuses that"
            fix = "write restartPolicy: Never"
            yield Problem(workload.manifest, (*path, "restartPolicy"), message, fix)


@rule(f"{_JOBS}#job-termination-and-cleanup", outcome=Outcome.RISK)
def missing_job_deadline(objects: Objects) -> Iterator[Problem]:
    """A CronJob that forbids two Jobs at once gives a Job up after some time.

    Else one that hangs keeps all later ones from beginning, and no backup is made any more.
    """
    for workload in _of_kind(objects, "CronJob"):
        path: Where = ("spec", "jobTemplate", "spec", "activeDeadlineSeconds")
        if workload.get("spec", "concurrencyPolicy") == "Forbid" and workload.get(*path) is None:
            message = "a Job that hangs is never given up, and no other begins beside it"
            fix = "write activeDeadlineSeconds, less than the interval of the schedule"
            yield Problem(workload.manifest, path, message, fix)


@rule(f"{_JOBS}#job-termination-and-cleanup")
def job_deadline_too_short(objects: Objects) -> Iterator[Problem]:
    """A Job has a minute and more.

    Else it is given up before its volume is made and its image pulled.
    """
    for workload in _of_kind(objects, "CronJob", "Job"):
        outer: Where = ("jobTemplate", "spec") if workload.manifest.kind == "CronJob" else ()
        path: Where = ("spec", *outer, "activeDeadlineSeconds")
        seconds = workload.get(*path)
        if isinstance(seconds, int) and seconds < _LEAST_JOB_S:
            message = f"a Job is given up after {seconds} s, which its pod may need to start"
            yield Problem(
                workload.manifest,
                path,
                message,
                "write activeDeadlineSeconds: 3600, or what its work takes",
            )


@rule(f"{_CRON_JOBS}#concurrency-policy")
def concurrent_jobs_share_volumes(objects: Objects) -> Iterator[Problem]:
    """Jobs of a CronJob that work on volumes run one at a time.

    Else a slow one and the next write to one place, and each has its clone of the volume, which no
    quota counts.
    """
    for workload in _of_kind(objects, "CronJob"):
        if workload.get("spec", "concurrencyPolicy") not in (None, "Allow"):
            continue
        disks = {"ephemeral", "persistentVolumeClaim"}
        if any(disks & volume.keys() for _, volume in workload.volumes()):
            message = "a Job begins beside one that still runs: two work on one place at once"
            path: Where = ("spec", "concurrencyPolicy")
            yield Problem(workload.manifest, path, message, "write concurrencyPolicy: Forbid")


@rule(_CRON_JOBS, outcome=Outcome.RISK)
def backup_suspended(objects: Objects) -> Iterator[Problem]:
    """In production backups are made.

    A CronJob that is suspended begins no Job, and what is lost then stays lost.
    """
    for workload in _of_kind(objects, "CronJob") if objects.is_production else ():
        path = ("spec", "suspend")
        if workload.get(*path) is True:
            message = f"{workload.manifest.label} is suspended: it makes nothing"
            yield Problem(workload.manifest, path, message, "write suspend: false")


@rule(_CRON_JOBS)
def starting_deadline_too_short(objects: Objects) -> Iterator[Problem]:
    """A CronJob may begin a Job 10 seconds late and more.

    The controller looks every 10 seconds: with less it may never begin one.
    """
    for workload in _of_kind(objects, "CronJob"):
        path = ("spec", "startingDeadlineSeconds")
        seconds = workload.get(*path)
        if isinstance(seconds, int) and seconds < _LEAST_DEADLINE_S:
            message = (
                f"a Job may begin {seconds} s late at most, and the controller looks every 10 s: "
                "it may never begin"
            )
            yield Problem(workload.manifest, path, message, "write startingDeadlineSeconds: 1200")


def _of_kind(objects: Objects, *kinds: str) -> Iterator[Workload]:
    return (one for one in objects.workloads if one.manifest.kind in kinds)
