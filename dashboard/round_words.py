"""This file knows what the words of a round mean to a person: reasons of rejection, what to do about each, states."""

from dashboard import words
from dashboard.languages import tr

UNREADABLE = frozenset({
    "truncated", "bad_magic", "unknown_version", "bad_crc", "impossible_count", "contradiction", "bad_digest",
    "bad_head", "bad_dtype", "bad_shape",
})  # fmt: skip


def rejected_because(reason: str) -> str:
    """Say why an update does not count."""
    return {
        "late": tr("it came after the round had ended; it waits for the next merge"),
        "no_reply": tr("no answer came in time"),
        "refused": tr("the member declined to learn"),
        "bad_reply": tr("its answer could not be read"),
        "bad_message": tr("its answer could not be read"),
        "too_stale": tr("it was learnt from a release too far behind"),
        "worse": tr("members were worse off with what it was merged into"),
        "no_room": tr("too many updates waited; this one had to make room"),
        "not_merged": tr("the merge left it out"),
        "not_asynchronous": tr("nobody had asked for it"),
        "bad_offer": tr("its offer could not be read"),
        "oversized": tr("it was larger than is allowed"),
        "not_there": tr("it was gone when it was asked"),
        "not_invited": tr("the round had not asked it"),
        "wrong_sender": tr("it spoke in the name of another member"),
        "wrong_speaker": tr("it was signed with the key of somebody else"),
        "unknown_key": tr("it was signed with a key that is not on the site's list"),
        "unsigned": tr("it bore no signature"),
        "bad_signature": tr("its signature did not fit"),
        "fragments_incomplete": tr("it never became whole"),
        "other_model": tr("it was learnt on another network, or by another rule"),
    }.get(reason, tr("its answer could not be read") if reason in UNREADABLE else words.rejection(reason))


def what_to_do(reason: str) -> str:
    """Say what to do about an update that does not count."""
    return {
        "not_finite": tr("look for a broken sensor on this gateway; its own model stays as it is"),
        "norm_outlier": tr(
            "once: nothing. Again and again: compare its machines with the others', or whether somebody meddles with it"
        ),
        "bad_weight": tr("this gateway claims more data than anybody has: check its software and who has its key"),
        "wrong_base": tr("nothing: it takes the current release and answers in the next round"),
        "too_stale": tr("nothing: it takes the current release and answers in the next round"),
        "wrong_shape": tr("bring its software to the version of the others"),
        "wrong_dtype": tr("bring its software to the version of the others"),
        "bad_reply": tr("bring its software to the version of the others"),
        "bad_message": tr("bring its software to the version of the others"),
        "late": tr("nothing; if it is always late, look at its network and load on the fleet page"),
        "no_reply": tr("see on the fleet page whether it is online"),
        "refused": tr("its own words stand beside; most often it has too few healthy captures yet"),
        "worse": tr("nothing: the release was not made"),
        "oversized": tr("no model is so large: check its software, and who has its key"),
        "not_there": tr("see on the fleet page whether it is online"),
        "not_invited": tr("once: nothing. Again and again: check its software, and who has its key"),
        "wrong_sender": tr("check its software, and who has its key"),
        "wrong_speaker": tr(
            "the words beside name whose key it was: look there, and throw it out: `aggregator revoke`"
        ),
        "unknown_key": tr("enrol it again; if nobody has changed its key, see who may write to the broker"),
        "unsigned": tr("see who may write to the broker"),
        "bad_signature": tr("see who may write to the broker"),
        "fragments_incomplete": tr("nothing; if it is always so, look at its network"),
        "other_model": tr("nothing: it takes the current release and answers in the next round"),
    }.get(reason, tr("see the site's words beside"))


def round_state(state: str) -> str:
    """Say how far a round is."""
    return {
        "offered": tr("running"), "merged": tr("merged, being judged"), "released": tr("made a release"),
        "void": tr("did not count"),
    }.get(state, state)  # fmt: skip


def chosen_because(why: str) -> str:
    """Say why a member was asked in a round or not."""
    return {
        "all": tr("all were asked"), "waited": tr("its kind of machine had waited longest"),
        "useful": tr("its updates have helped most"), "not_useful": tr("not asked: others have helped more"),
        "cannot": tr("not asked: battery low or nothing to learn from"),
        "root": tr("the others are compared with it"),
    }.get(why, why)  # fmt: skip


def release_state(state: str) -> str:
    """Say what a release is now."""
    return {
        "candidate": tr("candidate"), "current": tr("current"), "superseded": tr("superseded"),
        "withdrawn": tr("taken back"), "passed_over": tr("passed over"),
    }.get(state, state.replace("_", " "))  # fmt: skip


def stage_word(stage: str | None, share: float | None = None) -> str:
    """Say where a release is on its way."""
    if stage == "staged" and share:
        return tr("on {share} of the gateways", share=f"{share:.0%}")
    return {
        "shadow": tr("in the shadow"), "canary": tr("canary"), "staged": tr("on a part of the gateways"),
        "everywhere": tr("everywhere"), "withdrawn": tr("taken back"), None: tr("has not set out"),
        "imported": tr("brought in from elsewhere"),
    }.get(stage, stage or words.NOT_KNOWN)  # fmt: skip


def rollout_state(state: str) -> str:
    """Say what a release is to one gateway."""
    return {
        "offered": tr("offered"), "running": tr("runs it"), "refused": tr("refuses it"), "trying": tr("tries it"),
        "withdrawn": tr("took it back"),
    }.get(state, state)  # fmt: skip


def figure(name: str) -> str:
    """Say what a figure of a release's history is."""
    return {
        "auroc": "AUROC", "auroc_in_use": tr("AUROC of the release in use"), "loss": tr("loss"),
        "loss_in_use": tr("loss of the release in use"), "false_alarm_rate": tr("false alarm rate"),
        "false_alarm_rate_in_use": tr("false alarm rate of the release in use"), "rows": tr("held-back captures"),
        "judges": tr("gateways that judged"), "windows": tr("captures scored"),
        "exceeding": tr("over their limit"), "exceeding_other": tr("over their limit by the other release"),
        "score_errors": tr("not scored"),
    }.get(name, name.replace("_", " "))  # fmt: skip
