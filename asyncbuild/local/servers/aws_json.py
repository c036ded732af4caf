"""Server side of awsJson1.1: requests checked against botocore's own service model.

Protocol: Smithy, "AWS JSON 1.1 protocol". POST to `/`, the operation in `X-Amz-Target` as
`CodeBuild_20161006.StartBuild`, members as JSON; errors as `{"__type": ..., "message": ...}` with
the request's id in `x-amzn-RequestId`.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cache
from typing import Any

import botocore.loaders
import botocore.model
import orjson
from aiohttp import web

Document = dict[str, Any]
Answer = Callable[[str, Document], Awaitable[Document]]

_CONTENT_TYPE = "application/x-amz-json-1.1"
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
}


class AwsError(Exception):
    """Error answer in AWS's words.

    Args:
        code: Error code, such as `InvalidInputException`.
        message: Text for people.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


@cache
def service_model(name: str) -> botocore.model.ServiceModel:
    """Return the model that botocore itself builds its client from."""
    loader = botocore.loaders.Loader()
    return botocore.model.ServiceModel(loader.load_service_model(name, "service-2"), name)


def iter_faults(shape: botocore.model.Shape, value: object, place: str) -> Iterator[str]:
    """Yield in AWS's words where `value` breaks its shape: types, members, enums, sizes, patterns.

    Stricter than AWS in one point: a member that the model does not know is a fault, not ignored.

    Args:
        shape: Shape of the model.
        value: Value of the request.
        place: Path of the value in the request; empty for all of it.
    """
    kinds = _TYPES.get(shape.type_name, (object,))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        yield _fault(value, place, f"Member must be of type {shape.type_name}")
        return
    yield from _iter_own_faults(shape, value, place)
    if isinstance(shape, botocore.model.StructureShape) and isinstance(value, dict):
        yield from _iter_member_faults(shape, value, place)
    elif isinstance(shape, botocore.model.ListShape) and isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield from iter_faults(shape.member, item, f"{place}.{number}.member")
    elif isinstance(shape, botocore.model.MapShape) and isinstance(value, dict):
        for key, item in value.items():
            yield from iter_faults(shape.value, item, f"{place}.{key}.member")


def _iter_member_faults(
    shape: botocore.model.StructureShape, value: Document, place: str
) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield _fault(None, _inside(place, name), "Member must not be null")
    for name, item in value.items():
        if name not in shape.members:
            yield _fault(item, _inside(place, name), "Member must be one of the operation's")
        elif item is not None:
            yield from iter_faults(shape.members[name], item, _inside(place, name))


def _iter_own_faults(shape: botocore.model.Shape, value: Any, place: str) -> Iterator[str]:  # noqa: ANN401 - any JSON
    limits: Mapping[str, Any] = shape.metadata
    allowed = limits.get("enum")
    if allowed and value not in allowed:
        yield _fault(value, place, f"Member must satisfy enum value set: [{', '.join(allowed)}]")
    pattern = limits.get("pattern")
    if pattern and isinstance(value, str) and not re.fullmatch(pattern, value):
        yield _fault(value, place, f"Member must satisfy regular expression pattern: {pattern}")
    if isinstance(value, str | list):
        size, words = len(value), "have length"
    elif isinstance(value, int):
        size, words = value, "have value"
    else:
        return
    if "min" in limits and size < limits["min"]:
        yield _fault(value, place, f"Member must {words} greater than or equal to {limits['min']}")
    if "max" in limits and size > limits["max"]:
        yield _fault(value, place, f"Member must {words} less than or equal to {limits['max']}")


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _fault(value: object, place: str, rule: str) -> str:
    return f"Value '{value}' at '{place}' failed to satisfy constraint: {rule}"


def application(
    model: botocore.model.ServiceModel, answer: Answer, *, misfit: str = "InvalidInputException"
) -> web.Application:
    """Return a web application that checks requests against `model` and passes them to `answer`.

    Args:
        model: Model of the service.
        answer: Function (operation, members) that returns the answer's members or raises
            `AwsError`.
        misfit: The service's code for a request that does not fit its model.
    """

    async def handle(request: web.Request) -> web.Response:
        request_id = str(uuid.uuid4())
        try:
            operation, members = _parse(model, request.headers, await request.read(), misfit)
            document, status = await answer(operation, members), 200
        except AwsError as error:
            document = {"__type": error.code, "message": error.message}
            status = error.status
        return web.Response(
            body=orjson.dumps(document),
            status=status,
            content_type=_CONTENT_TYPE,
            headers={"x-amzn-RequestId": request_id},
        )

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/", handle)
    return app


def _parse(
    model: botocore.model.ServiceModel, headers: Mapping[str, str], body: bytes, misfit: str
) -> tuple[str, Document]:
    prefix, _, operation = headers.get("X-Amz-Target", "").partition(".")
    if prefix != model.metadata["targetPrefix"] or operation not in model.operation_names:
        raise AwsError("UnknownOperationException", f"no operation {operation or 'named'}")
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise AwsError("SerializationException", f"the body is not JSON: {error}") from error
    if not isinstance(members, dict):
        raise AwsError("SerializationException", "the body is not a JSON object")
    shape = model.operation_model(operation).input_shape
    faults = list(iter_faults(shape, members, "")) if shape else []
    if faults:
        count = "1 validation error" if len(faults) == 1 else f"{len(faults)} validation errors"
        raise AwsError(misfit, f"{count} detected: {'; '.join(faults)}")
    return operation, members
