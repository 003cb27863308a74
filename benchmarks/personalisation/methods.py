"""This file knows the ways of learning that the table compares: one function each, from clients to a model for each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.personalisation.clients import Client, flat
from benchmarks.personalisation.learning import (
    MIN_ROWS,
    Course,
    Learnt,
    Parameters,
    adapted,
    first_parameters,
    learn,
    open_step,
)
from gateway_agent.training import held_back_loss, starting_parameters
from schemas.parameter_levels import MergeLevel

Method = Callable[[Sequence[Client], int, Course], list[Parameters]]
"""Clients, seed, and the course of the plain rule -> parameters for each client, shape (P,)."""

PROXIMAL = 0.1  # FedProx as studied; the product's own is a tenth of it
PRODUCT_PROXIMAL = 0.01
GRADIENT_RATE = 1.0  # of rules without Adam
HEAD: Mapping[str, MergeLevel] = {"layer_3": "machine", "layer_4": "machine"}  # the decoder; the encoder is shared
SHOTS = 5  # captures that Per-FedAvg adapts to
INNER_RATE = 0.5  # its graph's default for the step inside, and so the one to adapt with
LOOSE_PULL = 0.01  # of a Ditto that leaves its clients nearly free; the graph's default is ten times as much


def untrained(clients: Sequence[Client], seed: int, _course: Course) -> list[Parameters]:
    """What everybody starts from."""
    return [first_parameters(seed)] * len(clients)


def local_only(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """Each client alone, with as many steps as a federation asks of it."""
    step, start = open_step("adam_prox_step"), first_parameters(seed)
    return [learn([client.training], step, start, course, seed).theta for client in clients]


def central(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """All rows in one place, with as many steps as all clients of a federation together."""
    rows = np.concatenate([client.training for client in clients])
    mixed = rows[np.random.default_rng(seed).permutation(len(rows))]  # what is held back is of all clients
    longer = replace(course, steps=course.steps * len(clients))
    theta = learn([mixed], open_step("adam_prox_step"), first_parameters(seed), longer, seed).theta
    return [theta] * len(clients)


def fedavg(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """McMahan et al. (2017), arXiv:1602.05629."""
    return [_plain(clients, seed, course).theta] * len(clients)


def fedprox(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """Li et al. (2020), arXiv:1812.06127."""
    return fedavg(clients, seed, replace(course, proximal=PROXIMAL))


def product(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """What a site does when nobody sets anything: a slight pull, the robust merge."""
    return fedavg(clients, seed, replace(course, proximal=PRODUCT_PROXIMAL, merging="auto"))


def fleet_or_own(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """The product's merged model, but a client's own where that tells its own held-back healthy rows better.

    Both models learn from the first four fifths of the rows; no faulty row is seen. Mansour et al. (2020),
    arXiv:2002.10619, section 4, choose among models of clusters in this way.
    """
    step = open_step("adam_prox_step")
    chosen = []
    for client, fleet, own in zip(
        clients, product(clients, seed, course), local_only(clients, seed, course), strict=True
    ):
        fleet_loss, own_loss = (
            held_back_loss(theta, client.training, step, settings={}, min_rows=MIN_ROWS)[0] for theta in (fleet, own)
        )
        chosen.append(own if own_loss < fleet_loss else fleet)
    return chosen


def ditto(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """Li et al. (2021), arXiv:2012.04221; each client's personal model is judged."""
    return _personal("ditto_step", clients, seed, course)


def loose_ditto(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """Ditto on a long leash, under the product's merge."""
    return ditto(clients, seed, replace(course, merging="auto", settings={"pull": LOOSE_PULL}))


def pfedme(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """Dinh et al. (2020), arXiv:2006.08848; each client's personal model is judged."""
    return _personal("pfedme_step", clients, seed, course)


def shared_encoder(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """Arivazhagan et al. (2019), arXiv:1912.00818: the decoder never leaves its client."""
    step = open_step("adam_prox_step", HEAD)
    learnt = learn([client.training for client in clients], step, first_parameters(seed), course, seed)
    return [starting_parameters(step, learnt.theta, own) for own in learnt.own]


def per_fedavg(clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    """Fallah et al. (2020), arXiv:2002.07948, exact; a client adapts by one step on its last five captures."""
    gentle = replace(course, learning_rate=GRADIENT_RATE)
    theta = _together("maml_step", clients, seed, gentle).theta
    plain = open_step("ditto_step")  # its shared model takes plain gradient steps
    return [adapted(theta, flat(client.learnt[-SHOTS:]), plain, INNER_RATE) for client in clients]


def _plain(clients: Sequence[Client], seed: int, course: Course) -> Learnt:
    return _together("adam_prox_step", clients, seed, course)


def _together(rule: str, clients: Sequence[Client], seed: int, course: Course) -> Learnt:
    return learn([client.training for client in clients], open_step(rule), first_parameters(seed), course, seed)


def _personal(rule: str, clients: Sequence[Client], seed: int, course: Course) -> list[Parameters]:
    learnt = _together(rule, clients, seed, replace(course, learning_rate=GRADIENT_RATE))
    return [own.personal for own in learnt.own if own.personal is not None]


METHODS: Mapping[str, Method] = {
    "untrained": untrained,
    "local only": local_only,
    "central": central,
    "FedAvg": fedavg,
    "FedProx": fedprox,
    "Ditto": ditto,
    "shared encoder": shared_encoder,
    "Per-FedAvg": per_fedavg,
    "pFedMe": pfedme,
    "product": product,
    "Ditto, loose": loose_ditto,
    "fleet or own": fleet_or_own,
}
