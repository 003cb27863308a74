"""This file knows every reason for which a foreign payload is refused, in the words of the guide."""

from schemas.errors import RejectedInput

REASONS = {
    "unknown_topic": "no [[foreign]] table has this topic",
    "unknown_device": "the device is not in the table's points",
    "bad_name": "machine or position in the topic is no safe name",
    "oversized": "the payload, or what its fragments join to, is larger than payload_bytes",
    "not_json": "the payload is no JSON: broken, NaN or Infinity, or nested too deep",
    "missing_field": "a field that the mapping needs is not in the payload",
    "bad_field": "a field is no number, no whole number or no text where one is needed",
    "truncated": "the bytes end before a field or before the samples do",
    "bad_checksum": "the checksum does not fit: the payload changed on its way, or the mapping is wrong",
    "bad_time": "the time cannot be read in the form that the mapping names",
    "bad_samples": "the samples are no finite numbers, no base64, or do not fill whole axes",
    "unequal_axes": "the axes have different numbers of samples",
    "impossible_value": "a value lies outside what such a quantity can be; is the unit right?",
    "impossible_count": "a fragment says it is number 5 of 4, or one of too many",
    "fragments_incomplete": "the missing fragments did not come in time",
}
"""What a mapping itself refuses; a capture that breaks a limit of our own format has the reasons of that."""


class ForeignRejected(RejectedInput):
    """A foreign payload that cannot be used; `reason` is a key of `REASONS`."""
