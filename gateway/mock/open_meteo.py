"""The query parameters and error answers that both Open-Meteo contracts share.

The texts of refusals follow the sources of open-meteo/open-meteo, open-meteo/geocoding-api and the
vapor web framework beneath them.
"""

from urllib.parse import parse_qs

from gateway.mock.answer import Answer, json_answer


class Refusal(Exception):
    """A request that Open-Meteo answers with 400 and a reason."""

    @property
    def answer(self) -> Answer:
        """The response with the reason."""
        return json_answer({"error": True, "reason": str(self)}, status=400)


class Parameters:
    """The query of a request."""

    __slots__ = ("_values",)

    def __init__(self, query: bytes) -> None:
        self._values = parse_qs(query.decode("latin-1"))

    def last(self, name: str) -> str | None:
        """The value of `name`, the last one if it is repeated, None if it is missing."""
        values = self._values.get(name)
        return values[-1] if values else None

    def listed(self, name: str) -> list[str]:
        """The values of `name`: repeated parameters and comma-separated ones alike."""
        return [part for value in self._values.get(name, ()) for part in value.split(",") if part]

    def whole_number(self, name: str, default: int) -> int:
        """The value of `name` as a whole number.

        Raises Refusal if it is not a whole number.
        """
        value = self.last(name)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise Refusal(
                f"Value was not of type 'Int' at path '{name}'. Int was not found at '{name}'."
            ) from None


def unknown_value(kind: str, value: str) -> Refusal:
    """The refusal of a value that is not a member of `kind`."""
    return Refusal(
        f"Data corrupted at path ''. Cannot initialize {kind} from invalid String value {value}."
    )
