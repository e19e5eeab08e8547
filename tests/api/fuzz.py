"""Requests as strangers send them: what the document allows, with the habits of many clients mixed in.

Made from a seed, so that a request that fails can be made again. Ids that earlier answers named come back, so that what
lies behind them is reached too.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

_JSON = (b"content-type", b"application/json")
_IDS = ("ada", "bob", "a/b", "..", "é", "x" * 256, "", "a b", "日本", "0" * 32, "%00", "a" * 300)
_TEXTS = (
    "",
    "thanks",
    "no, that is wrong",
    "thanks \ud83d",
    "👎",
    "\ufeffhi",
    "x" * 3000,
    "<task>",
    "不对，是周四",
    "\u202e",
)
_TIMES = (
    0,
    1767225600,
    1767225600000,
    "1767225600",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    253402300800,
    1e300,
    "",
    "now",
)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2.0, 9.0, 4.5, -0.0, 1e300, -1e300, 1e-320, 10**30, 2**63, 10**400),
    *(
        "",
        "0.5",
        "true",
        "null",
        "NaN",
        "\ud83d",
        "\udc00x",
        "\x00",
        [],
        {},
        [None],
        [[]],
        {"": None},
        {"a": {"b": []}},
    ),
    *_TIMES,
)
_UNKNOWN = (
    "isOverdue",
    "sent_at",
    "Priority",
    "hour",
    "ranking",
    "features",
    "\ud83d",
    "",
    "x" * 300,
    "ada@example.org",
)
_MAX_DEPTH = 8


class Sent(NamedTuple):
    """One request."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Stranger:
    """Sends requests.

    Args:
        document: OpenAPI.
        seed: of everything that is chosen.
        skip: paths that are left alone.
    """

    def __init__(
        self, document: Mapping[str, Any], seed: int, skip: tuple[str, ...] = ("/simulations", "/evaluations")
    ) -> None:
        self._random = Random(seed)
        self._schemas = document["components"]["schemas"]
        self._operations = [
            (method.upper(), path, operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if not path.startswith(skip)
        ]
        self._hot = [each for each in self._operations if each[1] in {"/score", "/reward", "/generate", "/judge"}]
        self._seen = {"decision_id": ["d"], "judgement_id": ["j"], "tip_id": ["t0"]}

    def note(self, answer: Any) -> None:
        """Remember the ids of an answer."""
        if isinstance(answer, dict):
            for name, seen in self._seen.items():
                if isinstance(answer.get(name), str):
                    seen.append(answer[name])
                    del seen[:-50]

    def make(self) -> Sent:
        """The next request."""
        random = self._random
        method, path, operation = random.choice(self._hot if random.random() < 0.4 else self._operations)
        target = self._fill_path(path) + self._build_query(operation)
        headers = [_JSON] if random.random() < 0.95 else [(b"content-type", b" application/json;charset=UTF-8 ")]
        if random.random() < 0.2:
            headers.append((b"idempotency-key", random.choice((b"k1", b"k1 ", b"\tk2", b"k\xc3\xa9", b"", b" "))))
        if random.random() < 0.1:
            headers.append((b"x-request-id", random.choice((b" r1 ", b"\xff", b"x" * 200))))
        body = b""
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            examples = [each["value"] for each in content.get("examples", {}).values()]
            value = random.choice(examples) if examples and random.random() < 0.3 else self._build(content["schema"])
            body = self._write(self._mutate(json.loads(json.dumps(value))))
        return Sent(method, target, headers, body)

    def _fill_path(self, path: str) -> bytes:
        def fill(name: str) -> str:
            known = self._seen.get(name, ["linucb", "egreedy", "linucb-v2", "nobody"] if name == "policy" else _IDS)
            return quote(self._random.choice(known), safe="", errors="surrogatepass") or "x"

        parts = [fill(part[1:-1]) if part.startswith("{") else part for part in path.split("/")]
        return "/".join(parts).encode()

    def _build_query(self, operation: Mapping[str, Any]) -> bytes:
        random = self._random
        pairs: list[str] = []
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and (parameter.get("required") or random.random() < 0.5):
                values = ("ada", "1", "2.0", "", "null", "0", "1000", "9" * 30, "-1", "é", "taught", "%F0%9F", "linucb")
                pairs.append(f"{parameter['name']}={quote(random.choice(values), safe='%')}")
        return b"?" + "&".join(pairs).encode() if pairs else b""

    def _build(self, schema: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
        """A value that the schema allows, more or less."""
        random = self._random
        if "$ref" in schema:
            return self._build(self._schemas[schema["$ref"].rpartition("/")[2]], name, depth)
        if "anyOf" in schema:
            return self._build(random.choice(schema["anyOf"]), name, depth)
        if "enum" in schema or "const" in schema:
            return random.choice(schema.get("enum", [schema.get("const")]))
        kinds = schema.get("type", "object")
        kind = random.choice(kinds) if isinstance(kinds, list) else kinds
        build: Callable[[], Any] = {
            "null": lambda: None,
            "boolean": lambda: random.random() < 0.5,
            "integer": lambda: random.choice((schema.get("minimum", 0), schema.get("maximum", 3), 2, 2.0)),
            "number": lambda: random.choice((schema.get("minimum", -1), schema.get("maximum", 1), 0.5, 0, 1)),
            "string": lambda: random.choice(self._seen.get(name) or (_IDS[:5] if "id" in name else _TEXTS)),
            "array": lambda: [
                self._build(schema.get("items", {}), name, depth + 1)
                for _ in range(random.randint(schema.get("minItems", 0), 3) if depth < _MAX_DEPTH else 0)
            ],
            "object": lambda: self._build_object(schema, depth),
        }[kind]
        return build()

    def _build_object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        random = self._random
        required = schema.get("required", ())
        built = {
            name: self._build(field, name, depth + 1)
            for name, field in schema.get("properties", {}).items()
            if name in required or random.random() < 0.5
        }
        if "properties" not in schema:
            built = {
                random.choice(("title", "priority", "is_overdue", "id", "x")): copy.deepcopy(random.choice(_ODD))
                for _ in range(3)
            }
        if "id" in built and random.random() < 0.8:
            built["id"] = f"t{random.randrange(100)}"
        return built

    def _mutate(self, value: Any) -> Any:
        """The value with some habits in it."""
        random = self._random
        for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
            places = list(_iter_places(value))
            if not places:
                break
            holder, key = random.choice(places)
            match random.randrange(4):
                case 0:
                    holder[key] = copy.deepcopy(random.choice(_ODD))
                case 1 if isinstance(holder, dict):
                    del holder[key]
                case 2 if isinstance(holder, dict):
                    holder[random.choice(_UNKNOWN)] = copy.deepcopy(random.choice(_ODD))
                case _:
                    inner = holder[key]
                    whole = isinstance(inner, int) and not isinstance(inner, bool) and abs(inner) < 2**53
                    holder[key] = float(inner) if whole else None
        return value

    def _write(self, value: Any) -> bytes:
        random = self._random
        text = json.dumps(value, ensure_ascii=random.random() < 0.7)
        match random.randrange(24):
            case 0:
                text = text.replace("0.5", "NaN").replace("null", "-Infinity", 1)
            case 1:
                text = text[:-1] + ', "user_id": "twice"}' if text.endswith("}") and len(text) > 2 else text
            case 2:
                text = text[: random.randrange(len(text) + 1)]
            case 3:
                text = (
                    text.replace("{", '{"deep": ' + "[" * 150 + "]" * 150 + ", ", 1) if text.startswith('{"') else text
                )
            case 4:
                text = "[" * 100_000
            case 5:
                text = text.replace("1", "1" * 5000, 1)
            case _:
                pass
        body = text.encode("utf-8", "surrogatepass")
        return b"\xef\xbb\xbf" + body if random.random() < 0.1 else body


def _iter_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Everything that holds something: its holder, and the key or index."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _iter_places(inner)
