"""A Django product in one file: one client for the whole process, rewards in a file that survives a crash.

    python examples/client/django_product.py runserver 8010 --noreload

The client and the outbox may be made before the web server forks its workers: each worker makes connections of its own,
all of them put rewards into the file, and one sends.
"""

import os
import sys
from datetime import datetime
from pathlib import Path

import django
from bandstand_client import Bandstand, Candidate
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

TIPS = [
    Candidate("tea", "Drink a cup of tea.", features={"priority": 1}),
    Candidate("tax", "Send the tax return.", features={"priority": 4, "is_overdue": True}),
    Candidate("plants", "Water the plants.", features={"priority": 2}),
]
OUTBOX = Path(os.environ.get("OUTBOX", "rewards.db"))

client = Bandstand(os.environ.get("BANDSTAND_URL", "http://127.0.0.1:8000"), os.environ.get("BANDSTAND_API_KEY"))
outbox = client.outbox(OUTBOX)


def show(request: HttpRequest) -> JsonResponse:
    """A tip for a user; in a quarter of a second at most, whatever becomes of Bandstand."""
    now = datetime.now().astimezone()
    moment = {"hour_of_day": now.hour, "day_of_week": now.weekday()}
    decision = client.score(request.GET["user"], TIPS, context=moment)
    return JsonResponse({"tip": decision.pick.content, "decision": decision.id})


@csrf_exempt
@require_POST
def done(request: HttpRequest) -> JsonResponse:
    """The user did it, after so many seconds."""
    outbox.react(request.GET["decision"], "done", dwell=float(request.GET["seconds"]))
    return JsonResponse({"kept": True})


urlpatterns = [path("", show), path("done", done)]

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"],
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "for a laptop alone"),
    )
    django.setup()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
