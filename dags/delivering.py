"""The tasks that deliver, for the DAGs that have them: mails to buyers and finance, copies of documents elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from traceback import format_exception_only

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from observed import count, gauge, lineage
from wiring import home_and_settings


def send_mails(now: datetime) -> int:
    """Write mails for what was issued, and send what is due at ``now``. Skipped without ``[mail]``."""
    from billing import connections
    from billing.steps.deliver_mail import deliver_mail
    from billing.steps.mail_issued import mail_issued

    with home_and_settings() as (home, settings):
        mail = settings.mail
        if mail is None:
            raise AirflowSkipException("billing.toml has no [mail]: no mail is sent.")
        # What has no document yet is named by the close that issued it.
        mail_issued(home, since=mail.since, now=now, off=mail.off, finance=bool(mail.finance), name_missing=False)
        done = deliver_mail(home, mail, connections, settings.templates, settings.theme, now)
    count("mails.sent", len(done.sent))
    count("mails.put_off", done.put_off)
    print(f"{len(done.sent)} mails sent, {done.put_off} are tried again later, {done.dropped} dropped.")
    if done.problems:
        raise AirflowFailException(f"{len(done.problems)} mails could not be made:\n" + "\n".join(done.problems))
    return len(done.sent)


def place_copies() -> int:
    """Copy what is not at its destination yet. Skipped without ``[files]``."""
    from billing import connections
    from billing.steps.place_files import Destination, place_files

    with home_and_settings() as (home, settings):
        if settings.files is None:
            raise AirflowSkipException("billing.toml has no [files]: documents are copied nowhere.")
        done = place_files(home, Destination.at(settings.files, connections))
        location = settings.files.location
    lineage(["documents"], [location])
    count("files.placed", done.placed)
    print(f"{done.placed} files placed in {location}.")
    if done.problems:
        raise AirflowFailException(f"{len(done.problems)} files could not be placed:\n" + "\n".join(done.problems))
    return done.placed


def demand_delivered() -> None:
    """End red while a mail waits for a person, and name all of them."""
    from billing.steps.deliver_mail import described, troubled

    with home_and_settings() as (home, _):
        waiting = troubled(home)
    for state in ("failed", "unknown", "undeliverable"):
        gauge(f"mails.{state}", sum(1 for one in waiting if one.state == state))
    if waiting:
        listed = "\n".join(described(one) for one in waiting)
        raise AirflowFailException(f"{len(waiting)} mails wait for a person (`billing mail show KEY`):\n{listed}")


def deliver_close(close_no: int) -> None:
    """Mails and copies, where the settings have them; what is wrong with one keeps back nothing of the other. Ends red
    also where a document is missing: what follows a task that failed must not hide that. The first that is wrong ends
    it, all others are printed.
    """
    from datetime import UTC

    from billing.steps.mail_issued import undocumented

    problems: list[Exception] = []
    parts: tuple[Callable[[], int], ...] = (lambda: send_mails(datetime.now(UTC)), place_copies)
    for part in parts:
        try:
            part()
        except AirflowSkipException as reason:
            print(reason)
        except Exception as problem:
            problems.append(problem)
    with home_and_settings() as (home, _):
        missing = undocumented(home, close_no)
    if missing:
        said = f"{len(missing)} have no document yet and are not delivered; the task that makes it says why: "
        problems.append(AirflowFailException(said + ", ".join(missing)))
    for other in problems[1:]:
        print("".join(format_exception_only(other)))
    if problems:
        raise problems[0]
