"""What Locust is given: ``locust -f locustfile.py --host tcp://127.0.0.1:8007``."""

from echoservers.lab.locust.users import EchoUser


class Echo(EchoUser):
    """Sends its next message when it has the reply to the one before."""
