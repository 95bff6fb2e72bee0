"""Any sequence of operations of players, vendors and organisers produces the same balances as a model in Python.

A rejected operation changes nothing: not the ledger, not the stored responses, not the audit log.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from hypothesis.strategies import SearchStrategy
from sqlalchemy import Engine, text
from werkzeug.test import TestResponse

from neobank.errors import BankError
from neobank.ledger.operations import Kind, NewTransfer, pay_many
from neobank.players.operations import register
from neobank.vendors.charges import MAX_PENDING
from tests.service.oracle import HOUSE, SYSTEM, ChargeState, Oracle, created
from tests.service.support import Books, LoggedIn, open_session

BALANCES = text(
    "SELECT number, sum(balance)::bigint FROM accounts JOIN balances ON account_id = accounts.id "
    "WHERE number = ANY (:numbers) GROUP BY number"
)
ROWS = text(
    "SELECT (SELECT count(*) FROM transfers) AS transfers, (SELECT count(*) FROM audit_logs) AS audit, "
    "(SELECT count(*) FROM idempotency_records WHERE answer IS NOT NULL) AS answers"
)
UNDER_WAY = text("SELECT count(*) FROM idempotency_records WHERE answer IS NULL")
ID_OF = text("SELECT id FROM accounts WHERE number = :number")
OPENED = text("SELECT max(id) FROM transfers WHERE credit_account_id = :account AND kind = 'opening_balance'")

DONE = {"transactions", "charges", "approve", "decline", "refund", "adjust-balance", "reverse", "add-credits"}
REFUSED = DONE - {"charges", "add-credits"}
"""The operations that can succeed, and that can be rejected."""

names = itertools.count()


@dataclass(frozen=True)
class Keyed:
    """A request that succeeded with an idempotency key, and its response."""

    path: str
    body: Mapping[str, object]
    headers: dict[str, str]
    sender: str
    terminal: bool
    answer: object
    status: int


@dataclass(frozen=True, eq=False)
class Charge:
    """The id and code of a charge, and its state in the model."""

    id: int
    code: str
    state: ChargeState


class BankMachine(RuleBasedStateMachine):
    """The application's routes and the model. Examples share a database; each opens its own accounts."""

    players = Bundle("players")
    charges = Bundle("charges")
    keyed = Bundle("keyed")
    # Opening balances are 100 000: some amounts are small, some use up (nearly) the whole balance, some exceed it.
    amounts: SearchStrategy[int] = st.one_of(st.integers(1, 300), st.integers(49_990, 100_300))
    with_key = st.booleans()

    def __init__(self, app: Flask, engine: Engine, organiser: LoggedIn) -> None:
        super().__init__()
        self.app, self.engine, self.organiser = app, engine, organiser
        self.reached: dict[str, set[str]] = defaultdict(set)
        self.client = app.test_client()
        self.oracle = Oracle({SYSTEM: 0, HOUSE: 0})
        self.ids: dict[str, int] = {}
        self.tokens: dict[str, dict[str, str]] = {}
        self.keys: dict[str, dict[str, str]] = {}
        self.requested: list[ChargeState] = []
        self.base, self.started = self.held([SYSTEM, HOUSE]), self.rows()
        self.faction = f"Faction {next(names)}"
        for number in (SYSTEM, HOUSE):
            self.oracle.balances[number] = self.base[number]
            self.remember(number)
        assert self.organise("/factions/create", {"name": self.faction}).status_code == 201

    @initialize(target=players)
    def open(self) -> object:
        return multiple(*(self.join(member=member) for member in (True, True, False)))

    @rule(target=players, member=st.booleans())
    def join(self, *, member: bool) -> object:
        """Open an account with a session and an API key."""
        faction = self.faction if member else None
        try:
            with self.engine.begin() as connection:
                opened = register(connection, name=f"Player {next(names)}", password_hash="none", faction=faction)
                transfer = connection.execute(OPENED, {"account": opened.account_id}).scalar_one()
        except BankError:
            assert self.oracle.read_only
            return multiple()
        number = opened.account_number
        self.oracle.balances[number] = 0
        self.oracle.factions[number] = faction
        self.oracle.post(transfer, SYSTEM, number, 100_000)
        self.remember(number)
        self.log_in(number)
        made = self.organise("/api-keys", {"description": "bar", "account": number, "scope": "pay"})
        self.keys[number] = {"X-API-Key": made.get_json()["key"]}
        return number

    @rule(target=keyed, payer=players, receiver=players, amount=amounts, with_key=with_key)
    def pay(self, payer: str, receiver: str, amount: int, *, with_key: bool) -> object:
        wanted = self.oracle.pay(payer, receiver, amount)
        body = {"to_account": receiver, "amount": amount / 100}
        answer, keyed = self.post("/api/v1/transactions", body, self.tokens[payer], payer, wanted, with_key=with_key)
        if wanted == 201:
            self.oracle.post(answer.get_json()["transaction"]["id"], payer, receiver, amount)
            assert answer.get_json()["new_balance"] * 100 == pytest.approx(self.oracle.balances[payer])
        return keyed

    @rule(
        moves=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), amounts), min_size=1, max_size=5),
        among=st.lists(players, min_size=1, max_size=4),
    )
    def pay_many(self, moves: list[tuple[int, int, int]], among: list[str]) -> None:
        """Post several transfers as one, as a spin does, with the house among the receivers."""
        receivers = [*among, HOUSE]
        named = [(among[a % len(among)], receivers[b % len(receivers)], amount) for a, b, amount in moves]
        wanted = self.oracle.may_move(named)
        try:
            with self.engine.begin() as connection:
                pay_many(
                    connection,
                    [NewTransfer(self.ids[payer], self.ids[receiver], amount) for payer, receiver, amount in named],
                    kind=Kind.TRANSFER,
                    memo="",
                    actor=self.ids[among[0]],
                )
        except BankError as refused:
            status = refused.status
        else:
            status = 200
            self.oracle.move(named)
        assert status == wanted

    @rule(target=keyed, vendor=players, receiver=players, amount=amounts, with_key=with_key)
    def pay_by_terminal(self, vendor: str, receiver: str, amount: int, *, with_key: bool) -> object:
        moves = [(vendor, receiver, amount)]
        wanted = created(self.oracle.may_move(moves))
        body = {"from_account": vendor, "to_account": receiver, "amount": amount / 100}
        path = "/api/v1/external/transactions"
        answer, keyed = self.post(path, body, self.keys[vendor], vendor, wanted, with_key=with_key)
        if wanted == 201:
            self.oracle.post(answer.get_json()["transaction"]["id"], *moves[0])
        return keyed

    @rule(target=charges, vendor=players, player=st.none() | players, amount=amounts)
    def request_payment(self, vendor: str, player: str | None, amount: int) -> object:
        wanted = 403 if vendor in self.oracle.frozen else 400 if player == vendor else 201
        pending = [it for it in self.requested if (it.vendor, it.player, it.status) == (vendor, player, "pending")]
        if wanted == 201 and player is not None and len(pending) >= MAX_PENDING:
            wanted = 409
        body = {"amount": amount / 100, "player": player}
        answer, _ = self.post("/api/v1/external/charges", body, self.keys[vendor], vendor, wanted, with_key=True)
        if wanted != 201:
            return multiple()
        shown = answer.get_json()
        self.requested.append(ChargeState(vendor, player, amount))
        return Charge(shown["id"], shown["code"], self.requested[-1])

    @rule(target=keyed, charge=charges, player=players, with_key=with_key)
    def approve(self, charge: Charge, player: str, *, with_key: bool) -> object:
        state = charge.state
        wanted = self.oracle.approve(state, player)
        path = f"/api/v1/charges/{charge.code}/approve"
        answer, keyed = self.post(path, {}, self.tokens[player], player, wanted, with_key=with_key)
        if wanted == 201:
            state.status, state.payment = "approved", answer.get_json()["transaction"]["id"]
            assert state.payment is not None
            self.oracle.post(state.payment, player, state.vendor, state.amount)
        return keyed

    @rule(target=charges, vendor=players, player=players, amount=st.integers(1, 300))
    def sell(self, vendor: str, player: str, amount: int) -> object:
        """Create a charge without a player, and let a player approve it."""
        charge = self.request_payment(vendor, None, amount)
        if isinstance(charge, Charge):
            self.approve(charge, player, with_key=False)
        return charge

    @rule(charge=charges, other=st.none() | players)
    def decline(self, charge: Charge, other: str | None) -> None:
        """Decline as the player that the charge names, or as another one."""
        state = charge.state
        player = other or state.player or state.vendor
        wanted = self.oracle.decline(state, player)
        self.post(f"/api/v1/charges/{charge.code}/decline", {}, self.tokens[player], player, wanted)
        if wanted == 200:
            state.status = "declined"

    @rule(charge=charges)
    def cancel(self, charge: Charge) -> None:
        state = charge.state
        wanted = self.oracle.cancel(state)
        answer = self.client.delete(f"/api/v1/external/charges/{charge.id}", headers=self.keys[state.vendor])
        assert answer.status_code == wanted, answer.text
        if wanted == 200:
            state.status = "cancelled"

    @rule(target=keyed, charge=charges, share=st.integers(1, 101), with_key=with_key)
    def refund(self, charge: Charge, share: int, *, with_key: bool) -> object:
        state = charge.state
        amount = max(1, state.amount * share // 100)
        wanted = self.oracle.refund(state, amount)
        path, body = f"/api/v1/external/charges/{charge.id}/refund", {"amount": amount / 100}
        answer, keyed = self.post(path, body, self.keys[state.vendor], state.vendor, wanted, with_key=with_key)
        if wanted == 201:
            assert state.payment is not None
            paid, given_back = self.oracle.sent[state.payment], answer.get_json()["transaction"]["id"]
            self.oracle.post(given_back, state.vendor, paid.payer, amount)
            state.refunded = paid.undone = self.oracle.sent[given_back].undone = True
        return keyed

    @rule(target=keyed, player=players, amount=amounts, sign=st.sampled_from([1, -1]), with_key=with_key)
    def adjust(self, player: str, amount: int, sign: int, *, with_key: bool) -> object:
        wanted = self.oracle.adjust(player, sign * amount)
        body = {"amount": sign * amount / 100, "reason": "because"}
        path = f"/api/admin/users/{player}/adjust-balance"
        answer, keyed = self.post(path, body, self.organiser.headers, self.organiser.number, wanted, with_key=with_key)
        if wanted == 200:
            debit, credit = (SYSTEM, player) if sign > 0 else (player, SYSTEM)
            self.oracle.post(answer.get_json()["transaction"]["id"], debit, credit, amount)
            self.oracle.rows["audit"] += 1
        return keyed

    @precondition(lambda self: self.oracle.sent)
    @rule(target=keyed, place=st.integers(0, 30), with_key=with_key)
    def reverse(self, place: int, *, with_key: bool) -> object:
        transfers = sorted(self.oracle.sent)
        transfer = transfers[-1 - place % len(transfers)]
        wanted = self.oracle.reverse(transfer)
        path = f"/api/admin/transactions/{transfer}/reverse"
        answer, keyed = self.post(
            path, {"reason": "oops"}, self.organiser.headers, self.organiser.number, wanted, with_key=with_key
        )
        if wanted == 200:
            sent, undoing = self.oracle.sent[transfer], answer.get_json()["transaction"]["id"]
            self.oracle.post(undoing, sent.receiver, sent.payer, sent.amount)
            sent.undone = self.oracle.sent[undoing].undone = True
            self.oracle.rows["audit"] += 1
        return keyed

    @rule(target=keyed, amount=amounts, with_key=with_key)
    def credit_faction(self, amount: int, *, with_key: bool) -> object:
        members = [number for number, faction in self.oracle.factions.items() if faction is not None]
        wanted = self.oracle.credit(members)
        path, body = f"/api/admin/factions/{self.faction}/add-credits", {"amount": amount / 100, "reason": "well done"}
        answer, keyed = self.post(path, body, self.organiser.headers, self.organiser.number, wanted, with_key=with_key)
        if wanted == 200:
            assert answer.get_json()["affected_users"] == len(members)
            self.oracle.move([(SYSTEM, member, amount) for member in members])
            self.oracle.rows["audit"] += 1
        return keyed

    @rule(player=players)
    def freeze(self, player: str) -> None:
        assert self.organise(f"/users/{player}/freeze").status_code == 200
        self.oracle.frozen.add(player)

    @rule(player=players)
    def unfreeze(self, player: str) -> None:
        assert self.organise(f"/users/{player}/unfreeze").status_code == 200
        if player in self.oracle.frozen:
            self.oracle.frozen.remove(player)
            self.log_in(player)

    @rule(read_only=st.sampled_from([False, False, False, False, True]))
    def switch(self, *, read_only: bool) -> None:
        assert self.organise("/switches", {"read_only": read_only}, "PUT").status_code == 200
        self.oracle.read_only = read_only

    @rule(request=keyed)
    def send_again(self, request: Keyed) -> None:
        """Expect the first response, whatever has happened since, unless the sender is frozen."""
        answer = self.client.post(request.path, json=request.body, headers=self.now(request))
        if request.sender in self.oracle.frozen:
            assert answer.status_code == (403 if request.terminal else 401), answer.text
        else:
            assert (answer.status_code, answer.get_json()) == (request.status, request.answer)

    @rule(request=consumes(keyed), receiver=players)
    def use_the_key_for_another_request(self, request: Keyed, receiver: str) -> None:
        if request.terminal or request.sender in self.oracle.frozen:
            return
        body = {"to_account": receiver, "amount": 0.01, "memo": "another request"}
        assert self.client.post("/api/v1/transactions", json=body, headers=self.now(request)).status_code == 422

    @invariant()
    def the_books_agree(self) -> None:
        assert self.held(list(self.oracle.balances)) == self.oracle.balances
        assert {name: now - self.started[name] for name, now in self.rows().items()} == self.oracle.rows
        with self.engine.connect() as connection:
            assert connection.execute(UNDER_WAY).scalar_one() == 0

    def teardown(self) -> None:
        self.switch(read_only=False)

    def post(
        self,
        path: str,
        body: Mapping[str, object],
        headers: dict[str, str],
        sender: str,
        wanted: int,
        *,
        with_key: bool = False,
    ) -> tuple[TestResponse, object]:
        """Send a request and assert its status; return the response, and the `keyed` entry of a success with a key."""
        key = {"Idempotency-Key": f"key {next(names)}"} if with_key else {}
        answer = self.client.post(path, json=body, headers=headers | key)
        assert answer.status_code == wanted, (answer.status_code, wanted, path, answer.text)
        self.reached[path.rpartition("/")[2]].add("done" if wanted < 400 else "refused")
        if not with_key or wanted >= 400:
            return answer, multiple()
        self.oracle.rows["answers"] += 1
        terminal = "X-API-Key" in headers
        return answer, Keyed(path, body, headers | key, sender, terminal, answer.get_json(), answer.status_code)

    def organise(self, path: str, body: dict[str, object] | None = None, method: str = "POST") -> TestResponse:
        """Run an action of an organiser that is audited and moves no money."""
        answer = self.organiser.administer(method, path, **body or {})
        self.oracle.rows["audit"] += answer.status_code < 400
        return answer

    def now(self, request: Keyed) -> dict[str, str]:
        """Return a request's headers with its sender's current token."""
        return request.headers | ({} if request.terminal else self.tokens.get(request.sender, self.organiser.headers))

    def remember(self, number: str) -> None:
        with self.engine.connect() as connection:
            self.ids[number] = connection.execute(ID_OF, {"number": number}).scalar_one()

    def log_in(self, number: str) -> None:
        self.tokens[number] = open_session(self.app, self.ids[number])

    def held(self, numbers: list[str]) -> dict[str, int]:
        with self.engine.connect() as connection:
            rows = connection.execute(BALANCES, {"numbers": numbers})
            return {number: int(balance) for number, balance in rows}

    def rows(self) -> dict[str, int]:
        with self.engine.connect() as connection:
            return dict(connection.execute(ROWS).mappings().one())


CI = settings(max_examples=40, stateful_step_count=30, suppress_health_check=list(HealthCheck))
SOAK = settings(CI, max_examples=2000, stateful_step_count=60, derandomize=False)


@pytest.mark.parametrize("how", [CI, pytest.param(SOAK, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])])
def test_any_sequence_of_operations_agrees_with_the_model(
    app: Flask, engine: Engine, organiser: LoggedIn, books: Books, how: settings
) -> None:
    machine = cast("type[RuleBasedStateMachine]", lambda: BankMachine(app, engine, organiser))
    run_state_machine_as_test(machine, settings=how)
    books()


def test_each_operation_succeeds_and_is_rejected_as_in_the_model(
    app: Flask, engine: Engine, organiser: LoggedIn, books: Books
) -> None:
    bank = BankMachine(app, engine, organiser)
    player, vendor = (str(bank.join(member=member)) for member in (True, False))
    for amount in (300, 100_000):
        bank.pay(player, vendor, amount, with_key=True)
    sold, requested = bank.sell(vendor, player, 300), bank.request_payment(vendor, player, 300)
    assert isinstance(sold, Charge)
    assert isinstance(requested, Charge)
    bank.approve(sold, player, with_key=True)
    for _ in range(2):
        bank.refund(sold, 50, with_key=True)
        bank.decline(requested, player)
    for sign in (1, -1):
        bank.adjust(player, 100_200, sign, with_key=True)
    bank.adjust(player, 100_000, -1, with_key=True)
    bank.credit_faction(300, with_key=True)
    bank.pay(player, vendor, 1, with_key=True)
    for _ in range(2):
        bank.reverse(0, with_key=True)
    bank.the_books_agree()
    books()
    assert {name for name, what in bank.reached.items() if "done" in what} == DONE
    assert {name for name, what in bank.reached.items() if "refused" in what} == REFUSED
