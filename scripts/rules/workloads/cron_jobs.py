"""Jobs: they start on schedule, run one at a time, and have a deadline."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from scripts.core import advice, paths, schedules
from scripts.core.fixes import Fix
from scripts.kubernetes import cron
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.quantity import shown
from scripts.kubernetes.resource_usage import Claim
from scripts.kubernetes.workloads import Workload
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_CRON_JOBS = "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"
_JOBS = "https://kubernetes.io/docs/concepts/workloads/controllers/job/"

_LEAST_JOB_S = 60
"""Time to provision a volume and start a pod."""

_VOLUME_BYTES_PER_S = 125 * 1024**2
"""The throughput of a gp3 volume that has no more of it provisioned:
https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html."""

_READINGS = 3
"""A backup reads the volume twice, and what it has uploaded once: chart/files/backup/backup.sh."""

_USUAL_DEADLINE_S = 18000
"""backup.timeoutSeconds in chart/values.yaml."""

_USUAL = {"backup": "0 */6 * * *", "restore-drill": "0 3 * * 0"}
"""Component → its schedule in chart/values.yaml."""

_HOURS = (2, 3, 4, 6, 8, 12)
"""Hours between two starts that divide a day."""

_LEAST_DEADLINE_S = 10
"""The CronJob controller checks schedules every 10 s."""


@rule(_CRON_JOBS)
def job_outlasts_schedule(objects: Objects) -> Iterator[Problem]:
    """The activeDeadlineSeconds of a CronJob are less than the interval of its schedule.

    Otherwise a Job may still run when the next one is due: the next one is skipped
    (concurrencyPolicy Forbid), or kills it (Replace).
    """
    for workload in _of_kind(objects, "CronJob"):
        deadline: Where = ("spec", "jobTemplate", "spec", "activeDeadlineSeconds")
        between = cron.interval(str(workload.get("spec", "schedule")))
        policy, longest = workload.get("spec", "concurrencyPolicy"), workload.get(*deadline)
        is_known = cron.is_valid(str(workload.get("spec", "schedule")))
        if policy not in ("Forbid", "Replace") or not isinstance(longest, int) or not is_known:
            continue
        if longest >= between:
            effect = "is skipped" if policy == "Forbid" else "kills the one that still runs"
            message = (
                f"a Job may run for {longest} s (activeDeadlineSeconds), but the next one is due "
                f"after {between} s: the next Job {effect}"
            )
            seconds, fix = _deadline(between), "write a less frequent schedule"
            path: Where = ("spec", "schedule")
            if longest < cron.DAY_S:
                fix += ', for example "0 3 * * *"'
            if between < cron.HOUR_S <= longest:  # a star in the wrong field
                right = _rarer(str(workload.get(*path)), longest)
                fix = advice.saying(f'write schedule: "{right}"', right, is_safe=False)
            elif seconds >= max(_LEAST_JOB_S, _least(objects, workload)):
                shorter = f"activeDeadlineSeconds: {seconds}{_in_values(workload)}"
                fix = f"write {shorter}; if Jobs take longer, {fix}"
                path = path if longest == _USUAL_DEADLINE_S else deadline
            yield Problem(workload.manifest, path, message, fix)


def _rarer(schedule: str, longest: int) -> str:
    """Return a schedule that leaves a Job enough time, as similar as possible to the one given."""
    at_full_hour = " ".join(("0", *schedule.split()[1:]))
    if cron.is_valid(at_full_hour) and cron.interval(at_full_hour) > longest:
        return at_full_hour
    hours = next((each for each in _HOURS if each * cron.HOUR_S > longest), 0)
    return f"0 */{hours} * * *" if hours else "0 3 * * *"


@rule(f"{_CRON_JOBS}#schedule-syntax", outcome=Outcome.REJECTED)
def invalid_cron_schedule(objects: Objects) -> Iterator[Problem]:
    """The schedule of a CronJob is a cron expression that Kubernetes reads.

    Otherwise the API server rejects the CronJob, so the sync fails or does not begin.
    """
    for workload in _of_kind(objects, "CronJob"):
        schedule = workload.get("spec", "schedule")
        if not isinstance(schedule, str):
            continue  # the schemas report it
        try:
            cron.read(schedule)
        except ValueError as reason:
            message = (
                f'the schedule "{schedule}" is not valid: {reason}; the API server rejects '
                f"{workload.manifest.label}"
            )
            fix: str = (
                "write five fields: minute, hour, day of the month, month, day of the week, for "
                'example "0 */6 * * *"'
            )
            if near := next((c for c in schedules.candidates(schedule) if cron.is_valid(c)), ""):
                words = f'write schedule: "{near}"'
                words += ": 0 is Sunday" if schedule.endswith(" 7") else ""
                fix = advice.saying(words, near)
            yield Problem(workload.manifest, ("spec", "schedule"), message, fix)


@rule(f"{_CRON_JOBS}#schedule-syntax", outcome=Outcome.HIDDEN)
def schedule_never_runs(objects: Objects) -> Iterator[Problem]:
    """A CronJob's schedule is for dates that exist.

    Otherwise no Job ever starts, and no backup is made: for example, no February has 31 days.
    """
    for workload in _of_kind(objects, "CronJob"):
        schedule = str(workload.get("spec", "schedule"))
        try:
            never = not cron.read(schedule).longest
        except ValueError:
            continue
        if never:
            fields = [field if field.strip(",") else "*" for field in schedule.split()]
            message = f'the schedule "{schedule}" has no date that exists: no Job ever starts'
            minute, hour, _, month, weekday = fields
            usual = _USUAL.get(workload.component, f"{minute} {hour} 1 {month} {weekday}")
            fix = f'write an existing day, for example schedule: "{usual}"'
            yield Problem(workload.manifest, ("spec", "schedule"), message, fix)


@rule(f"{_JOBS}#handling-pod-and-container-failures", outcome=Outcome.REJECTED)
def invalid_job_restart_policy(objects: Objects) -> Iterator[Problem]:
    """The restartPolicy of a Job's pod is Never or OnFailure.

    Otherwise the API server rejects the object, so the sync fails or does not begin. Always, the
    default, is not valid for a Job.
    """
    for workload in _of_kind(objects, "CronJob", "Job"):
        path, policy = workload.pod_path, workload.pod_spec.get("restartPolicy")
        if policy in (None, "Always"):
            message = (
                f"restartPolicy is {policy or 'not set, which means Always'}, and a Job allows only"
                " Never or OnFailure: the API server rejects the object, so the sync fails"
            )
            fix = advice.write("restartPolicy", "Never")
            yield Problem(workload.manifest, (*path, "restartPolicy"), message, fix)


@rule(f"{_JOBS}#job-termination-and-cleanup", outcome=Outcome.RISK)
def missing_job_deadline(objects: Objects) -> Iterator[Problem]:
    """A CronJob with concurrencyPolicy Forbid has activeDeadlineSeconds.

    Otherwise one Job that hangs blocks all later ones, and no more backups are made.
    """
    for workload in _of_kind(objects, "CronJob"):
        path: Where = ("spec", "jobTemplate", "spec", "activeDeadlineSeconds")
        if workload.get("spec", "concurrencyPolicy") == "Forbid" and workload.get(*path) is None:
            message = (
                "activeDeadlineSeconds is not set, and concurrencyPolicy is Forbid: a Job that "
                "hangs blocks all later ones"
            )
            between = cron.interval(str(workload.get("spec", "schedule")))
            least, place = _least(objects, workload), " to spec.jobTemplate.spec"
            fix = advice.add("activeDeadlineSeconds", _deadline(between)) + (
                f"{place}: less than the {between} s between two Jobs"
            )
            if _deadline(between) < least:
                enough = max(_USUAL_DEADLINE_S, _READINGS * least)
                fix = Fix(f"add activeDeadlineSeconds: {enough}{place}, and write a less frequent")
                fix += ' schedule, for example "0 3 * * *"'
            yield Problem(workload.manifest, path, message, fix)


@rule(f"{_JOBS}#job-termination-and-cleanup")
def job_deadline_too_short(objects: Objects) -> Iterator[Problem]:
    """The activeDeadlineSeconds of a Job are at least 60.

    Otherwise the Job is terminated before its volume is provisioned and its image is pulled.
    """
    for workload in _of_kind(objects, "CronJob", "Job"):
        outer: Where = ("jobTemplate", "spec") if workload.manifest.kind == "CronJob" else ()
        path: Where = ("spec", *outer, "activeDeadlineSeconds")
        seconds = workload.get(*path)
        if isinstance(seconds, int) and seconds < _LEAST_JOB_S:
            message = (
                f"activeDeadlineSeconds is {seconds}: the Job may be terminated before its pod has "
                "started"
            )
            least = _least(objects, workload)
            enough = 3600 if least <= 3600 else max(_USUAL_DEADLINE_S, _READINGS * least)
            fix = advice.write("activeDeadlineSeconds", enough).unless(
                ", or more if the Job takes longer"
            )
            yield Problem(workload.manifest, path, message, fix)


@rule(f"{_JOBS}#job-termination-and-cleanup")
def job_deadline_below_volume_size(objects: Objects) -> Iterator[Problem]:
    """The activeDeadlineSeconds of a Job are enough to read its volumes once, if they are full.

    Otherwise each backup is terminated before it is complete, and there is none to restore. The
    rule assumes 125 MiB/s, which a gp3 volume has.
    """
    for workload in _of_kind(objects, "CronJob", "Job"):
        outer: Where = ("jobTemplate", "spec") if workload.manifest.kind == "CronJob" else ()
        path: Where = ("spec", *outer, "activeDeadlineSeconds")
        seconds = workload.get(*path)
        size, least = _size(objects, workload), _least(objects, workload)
        if isinstance(seconds, int) and _LEAST_JOB_S <= seconds < least:
            message = (
                f"activeDeadlineSeconds is {seconds}, but to read {shown('storage', size)} once "
                f"takes {least} s at 125 MiB/s: {workload.manifest.label} never completes once its "
                "volume is full"
            )
            enough, schedule = max(_USUAL_DEADLINE_S, _READINGS * least), ""
            if workload.manifest.kind == "CronJob":
                between = _deadline(cron.interval(str(workload.get("spec", "schedule"))))
                if between > least:
                    enough = min(enough, between)
                elif enough < cron.DAY_S:
                    schedule = ', and a less frequent schedule, for example "0 3 * * *"'
            fix: str = f"write activeDeadlineSeconds: {enough}{_in_values(workload)}{schedule}"
            if not schedule:
                fix = advice.saying(fix, enough, is_safe=False)
            yield Problem(workload.manifest, path, message, fix)


def _size(objects: Objects, workload: Workload) -> Decimal:
    """Return the bytes that the volumes of a Job hold."""
    return sum((claim.storage for claim in _claims(objects, workload)), Decimal(0))


def _least(objects: Objects, workload: Workload) -> int:
    """Return the seconds that it takes to read the volumes of a Job once, if they are full."""
    return int(_size(objects, workload) / _VOLUME_BYTES_PER_S)


def _claims(objects: Objects, workload: Workload) -> list[Claim]:
    """Return the claims that a pod of a Job has, or that it mounts."""
    mounted = {
        paths.get(volume, ("persistentVolumeClaim", "claimName"))
        for _, volume in workload.volumes()
    }
    return [
        claim
        for claim in objects.counted.claims
        if claim.manifest == workload.manifest
        or (claim.manifest.kind == "PersistentVolumeClaim" and claim.manifest.name in mounted)
    ]


@rule(f"{_CRON_JOBS}#concurrency-policy")
def concurrent_jobs_share_volumes(objects: Objects) -> Iterator[Problem]:
    """Jobs of a CronJob with volumes run one at a time.

    Otherwise a slow Job and the next one write to the same place. Each also has its own clone of
    the volume, which quota-too-small does not count.
    """
    for workload in _of_kind(objects, "CronJob"):
        if workload.get("spec", "concurrencyPolicy") not in (None, "Allow"):
            continue
        disks = {"ephemeral", "persistentVolumeClaim"}
        if any(disks & volume.keys() for _, volume in workload.volumes()):
            policy = workload.get("spec", "concurrencyPolicy") or "not set, which means Allow"
            message = (
                f"concurrencyPolicy is {policy}: a Job may start while the previous one still runs,"
                " and both write to the same volume or bucket"
            )
            path: Where = ("spec", "concurrencyPolicy")
            yield Problem(
                workload.manifest, path, message, advice.write("concurrencyPolicy", "Forbid")
            )


@rule(_CRON_JOBS, outcome=Outcome.RISK)
def backup_suspended(objects: Objects) -> Iterator[Problem]:
    """In production, the CronJob for backups is not suspended.

    Otherwise no backup is made, and data that is lost can't be restored.
    """
    for workload in _of_kind(objects, "CronJob") if objects.is_production else ():
        path = ("spec", "suspend")
        if workload.get(*path) is True:
            message = f"{workload.manifest.label} is suspended (suspend: true): no backup is made"
            yield Problem(workload.manifest, path, message, advice.write("suspend", False))


@rule(_CRON_JOBS)
def starting_deadline_too_short(objects: Objects) -> Iterator[Problem]:
    """The startingDeadlineSeconds of a CronJob are at least 10.

    Otherwise it may never start a Job: the CronJob controller checks schedules every 10 seconds.
    """
    for workload in _of_kind(objects, "CronJob"):
        path = ("spec", "startingDeadlineSeconds")
        seconds = workload.get(*path)
        if isinstance(seconds, int) and seconds < _LEAST_DEADLINE_S:
            message = (
                f"startingDeadlineSeconds is {seconds}, but the CronJob controller checks schedules"
                " only every 10 s: it may never start a Job"
            )
            yield Problem(
                workload.manifest, path, message, advice.write("startingDeadlineSeconds", 1200)
            )


def _deadline(between: int) -> int:
    """Return activeDeadlineSeconds for Jobs that start so many seconds after each other."""
    return between * 5 // 6


def _in_values(workload: Workload) -> str:
    """Return what a fix says about the key of activeDeadlineSeconds in the values."""
    key = _DEADLINES.get(workload.manifest.component)
    return f" (in the values: {key})" if key else ""


_DEADLINES = {"backup": "backup.timeoutSeconds", "restore-drill": "restore.drill.timeoutSeconds"}


def _of_kind(objects: Objects, *kinds: str) -> Iterator[Workload]:
    return (w for w in objects.workloads if w.manifest.kind in kinds)
