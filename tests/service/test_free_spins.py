"""Free spins: each is played once under concurrency, and they outlive restarts and restores."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text

from neobank.casino import spins
from neobank.casino.games import GAMES
from neobank.errors import BankError
from neobank.ledger.operations import AccountFrozen, ReadOnly
from neobank.settings import UpgradeSettings
from tests.service import nb1
from tests.service.gambling import STARLIGHT, configure, played, rig, rotate, seed_that, set_seed, spin
from tests.service.serving import gunicorn
from tests.service.support import Database, LoggedIn, neobank

IMPORT = text(
    "INSERT INTO free_spins (account_id, game, remaining, line_bet, version_id, dial, sheet)"
    " SELECT account.id, version.game, 3, 500, version.id, version.dial, :sheet"
    " FROM accounts AS account, dial_versions AS version"
    " WHERE account.number = :number AND version.game = 'starlight_smuggler' ORDER BY version.id DESC LIMIT 1"
)


def history(who: LoggedIn) -> list[nb1.Shown]:
    found: list[nb1.Shown] = who.send("GET", "/casino/rounds", limit=100).get_json()["rounds"]
    return found[::-1]


def dials(who: LoggedIn) -> dict[int, object]:
    listed = who.send("GET", "/casino/games").get_json()["games"]
    return {it["version"]: it["payout_percentage"] for game in listed for it in game["versions"]}


@pytest.mark.usefixtures("fair")
def test_concurrent_requests_play_each_free_spin_once(owner: Engine, neo: LoggedIn) -> None:
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
    played(neo, STARLIGHT, 5)
    with ThreadPoolExecutor(8) as phones:
        answers = [each.result() for each in [phones.submit(spin, neo, STARLIGHT, 5) for _ in range(16)]]
    assert {status for status, _ in answers} == {200}
    rounds = history(neo)
    assert [it["nonce"] for it in rounds] == [*range(17)]
    assert nb1.wrong_in_all(rounds, dials(neo)) == []
    assert [it["was_free_spin"] for it in rounds[1:6]] == [True] * 5
    reported = sorted((body["round"], body["was_free_spin"], body["total_bet"]) for _, body in answers)
    assert reported == [(it["id"], it["was_free_spin"], it["bet"]) for it in rounds[1:]]


@pytest.mark.usefixtures("fair")
def test_concurrent_requests_with_one_key_play_one_free_spin(owner: Engine, neo: LoggedIn) -> None:
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
    played(neo, STARLIGHT, 5)
    with ThreadPoolExecutor(4) as phones:
        futures = [phones.submit(spin, neo, STARLIGHT, 5, "the same") for _ in range(4)]
        first, *others = [each.result() for each in futures]
    assert others == [first] * 3
    assert neo.account()["free_spins"] == 4


def test_free_spins_outlive_a_restart_of_the_service(
    database: Database, owner: Engine, fresh: UpgradeSettings, tmp_path: Path
) -> None:
    del fresh
    bet: dict[str, object] = {"bet_amount": 5}
    answers: list[nb1.Shown] = []
    with gunicorn(database.url("application"), tmp_path / "before.log") as served:
        neo = served.bank.join("Neo")
        served.bank.call("/api/v1/casino/seed", token=neo.token)
        rig(owner, neo.number, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
        answers += [served.bank.call("/api/v1/casino/starlight-smuggler/spin", bet, neo.token)[1] for _ in range(2)]
    with gunicorn(database.url("application"), tmp_path / "after.log") as served:
        answers += [served.bank.call("/api/v1/casino/starlight-smuggler/spin", bet, neo.token)[1] for _ in range(5)]
    assert [it["was_free_spin"] for it in answers] == [False, *[True] * 5, False]
    assert [it["free_spins_remaining"] for it in answers[:6]] == [5, 4, 3, 2, 1, 0]


@pytest.mark.usefixtures("fair")
def test_imported_free_spins_use_the_line_bet_and_dial_of_their_row(
    owner: Engine, organiser: LoggedIn, neo: LoggedIn
) -> None:
    """An import inserts a row, and no round awarded these free spins. Verification accepts that."""
    rotate(neo, client_seed="neo")
    with owner.begin() as connection:
        connection.execute(IMPORT, {"number": neo.number, "sheet": GAMES["starlight_smuggler"].sheet})
    configure(organiser, "starlight_smuggler", payout_percentage=150)
    assert neo.account()["free_spins"] == 3
    for left in (2, 1, 0):
        body = played(neo, STARLIGHT, 500)
        shown = neo.send("GET", f"/casino/rounds/{body['round']}").get_json()
        assert (body["free_spins_remaining"], body["bet_per_line"], shown["dial"]) == (left, 5, 102)
    assert played(neo, STARLIGHT, 5)["was_free_spin"] is False


@pytest.mark.usefixtures("fair")
@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        ("SELECT set_frozen(:account, true)", AccountFrozen),
        ("UPDATE switches SET read_only = :account > 0", ReadOnly),
    ],
)
def test_no_free_spin_is_played_by_a_frozen_account_or_in_a_read_only_bank(
    engine: Engine, owner: Engine, neo: LoggedIn, state: str, refusal: type[BankError]
) -> None:
    """The caller was authenticated before the state changed, so the settlement itself has to refuse."""
    neo.send("GET", "/casino/seed")
    game = GAMES["starlight_smuggler"]
    with owner.begin() as connection:
        connection.execute(IMPORT, {"number": neo.number, "sheet": game.sheet})
        account = connection.execute(text("SELECT account_id FROM free_spins")).scalar_one()
        connection.execute(text(state), {"account": account})
    with pytest.raises(refusal), engine.begin() as connection:
        spins.spin(
            connection,
            account_id=account,
            account_number=neo.number,
            game=game,
            line_bet=500,
            zone=ZoneInfo("UTC"),
            attempt=0,
        )


def test_free_spins_outlive_the_seeds_that_a_restore_retires(database: Database, owner: Engine, neo: LoggedIn) -> None:
    set_seed(owner, neo, seed_that(neo.number, STARLIGHT, lambda _, triggers: triggers))
    played(neo, STARLIGHT, 5)
    played(neo, STARLIGHT, 5)
    before = neo.send("GET", "/casino/seed").get_json()
    restored = neobank("db", "restored", DATABASE_OWNER_URL=database.setting("owner"))
    assert restored.returncode == 0, restored.stderr
    assert re.findall(r"\d+", restored.stdout) == ["1"]
    after = neo.send("GET", "/casino/seed").get_json()
    hashes = {"server_seed_hash", "next_server_seed_hash"}
    assert not {before[it] for it in hashes} & {after[it] for it in hashes}
    assert (after["nonce"], after["client_seed"]) == (0, before["client_seed"])
    assert None not in {it["server_seed"] for it in history(neo)}
    with owner.connect() as connection:
        used = connection.execute(text("SELECT commitment, rounds FROM seeds WHERE retired_at IS NOT NULL ORDER BY id"))
        assert [tuple(row) for row in used] == [(before["server_seed_hash"], 2), (before["next_server_seed_hash"], 0)]
    assert played(neo, STARLIGHT, 5)["free_spins_remaining"] == 3
    assert rotate(neo)["nonce"] == 0
