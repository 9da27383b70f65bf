import json

import pytest
from kfp_server_api.exceptions import ApiException

from pipelines.platform import user_errors
from steam_recsys.errors import UserError


def message(body: str | None) -> str:
    """Return the message to the user when Kubeflow's API answers with status 500 and this body."""
    error = ApiException(status=500, reason="Internal Server Error")
    error.body = body
    with pytest.raises(UserError) as told, user_errors("Kubeflow Pipelines", lambda each: each.status):
        raise error
    return str(told.value)


def test_the_reason_in_the_body_of_an_answer_is_told():
    details = [{"@type": "type.googleapis.com/google.rpc.Status", "error_message": "Incorrect string value: '\\xE2'"}]
    body = {"error": "Failed to create a run", "code": 13, "message": "Failed to create a run", "details": details}
    assert "(Incorrect string value: '\\xE2')" in message(json.dumps(body))
    assert "(Failed to create a run)" in message(json.dumps(body | {"details": []}))
    assert "(no room)" in message(json.dumps({"error": "no room"}))
    assert "(no file)" in message(json.dumps({"error_message": "no file", "error_details": "no file\nat line 7"}))


@pytest.mark.parametrize(
    "body", [None, "", "<html>bad gateway</html>", "[]", "3", '{"details": [7]}', '{"details": 7}']
)
def test_a_body_without_a_reason_leaves_the_status(body):
    assert "status 500 (Internal Server Error)" in message(body)
