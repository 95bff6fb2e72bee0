"""Rounds played over HTTP are fair according to a verifier that was written from docs/fairness.md alone."""

import hashlib
import json
import random
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neobank.casino.commands import read_round
from neobank.casino.rounds import problems
from neobank.settings import UpgradeSettings
from tests.bank import Bank, Player
from tests.service import nb1
from tests.service.serving import gunicorn
from tests.service.support import ADMINISTRATOR, Database, neobank
from tools.postgres import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "fairness.md"
PLAYERS = 8
SPINS = 1000
GAMES = {"glitch-grid": (10, 1000), "starlight-smuggler": (5, 500)}
EXAMPLE = re.compile(r"\| ([a-z-]+) \| (\d+) \| `([0-9a-f]{64})` \| (tight|loose) \| ([\d ]+) \| (\d+) \|")


def fetch(
    bank: Bank, path: str, who: Player, body: dict[str, object] | None = None, method: str | None = None
) -> Mapping[str, Any]:
    status, answer = bank.call(path, body, who.token, method=method)
    assert status == 200, answer
    return answer


@dataclass
class Gambler:
    """A player, the commitments published before their seeds were used, and the response of each round."""

    bank: Bank
    player: Player
    committed: list[str] = field(default_factory=list)
    responses: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def gamble(self, seed: int, spins: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        shown = fetch(self.bank, "/api/v1/casino/seed", self.player)
        self.committed = [shown["server_seed_hash"], shown["next_server_seed_hash"]]
        for _ in range(spins):
            if chance.random() < 0.05:
                self.rotate(f"page-{chance.random()}")
            game = chance.choice([*GAMES])
            bet: dict[str, object] = {"bet_amount": chance.choice(GAMES[game])}
            answer = fetch(self.bank, f"/api/v1/casino/{game}/spin", self.player, bet)
            self.responses[answer["round"]] = answer
        self.rotate("the-last-one")

    def rotate(self, client_seed: str) -> None:
        answer = fetch(self.bank, "/api/v1/casino/seed", self.player, {"client_seed": client_seed})
        assert answer["revealed"]["server_seed_hash"] == self.committed[-2]
        assert answer["server_seed_hash"] == self.committed[-1]
        self.committed.append(answer["next_server_seed_hash"])

    def history(self) -> list[Mapping[str, Any]]:
        """Fetch all rounds, oldest first."""
        found: list[Mapping[str, Any]] = []
        page = "limit=100"
        while True:
            answer = fetch(self.bank, f"/api/v1/casino/rounds?{page}", self.player)
            found += answer["rounds"]
            if answer["next"] is None:
                return found[::-1]
            page = f"limit=100&before={answer['next']}"


def test_every_round_of_eight_players_is_fair(database: Database, fresh: UpgradeSettings, tmp_path: Path) -> None:
    del fresh
    with gunicorn(database.url("application"), tmp_path / "gunicorn.log") as served:
        bank = served.bank
        organiser = bank.log_in(ADMINISTRATOR.name, ADMINISTRATOR.password)
        gamblers = [Gambler(bank, bank.join(f"Player {index}")) for index in range(PLAYERS)]
        for one in gamblers:
            richer: dict[str, object] = {"amount": 10_000_000, "reason": "stake"}
            fetch(bank, f"/api/admin/users/{one.player.number}/adjust-balance", organiser, richer)
        with ThreadPoolExecutor(PLAYERS) as pool:
            done = [pool.submit(one.gamble, seed, SPINS // PLAYERS) for seed, one in enumerate(gamblers)]
            dials: dict[str, object] = {"payout_percentage": 77.77}
            for game in ("glitch_grid", "starlight_smuggler"):
                fetch(bank, f"/api/admin/casino/config/{game}", organiser, dials, method="PUT")
            for each in done:
                each.result()
        for one in gamblers:
            assert_fair(one, SPINS // PLAYERS)
    verified = neobank("verify", DATABASE_URL=database.setting("application"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert f"{SPINS} rounds of " in verified.stdout


def assert_fair(one: Gambler, spins: int) -> None:
    """Verify all rounds of a player with both verifiers, using only public responses."""
    published = fetch(one.bank, "/api/v1/casino/games", one.player)["games"]
    dials = {it["version"]: it["payout_percentage"] for game in published for it in game["versions"]}
    rounds = one.history()
    sheets = {sheet: sheet_text(one.bank, sheet) for sheet in {it["sheet"] for it in rounds}}
    assert len(rounds) == spins
    assert {it["id"] for it in rounds} == set(one.responses)
    assert {it["server_seed_hash"] for it in rounds} <= set(one.committed)
    assert nb1.wrong_in_all(rounds, dials) == []
    for shown in rounds:
        assert nb1.wrong_with(shown, sheets[shown["sheet"]]) == []
        assert nb1.wrong_with({**shown, "win": shown["win"] + 1}, sheets[shown["sheet"]])
        assert problems(read_round(json.dumps(shown).encode())) == []
        response = one.responses[shown["id"]]
        assert response["win_amount"] == shown["win"]
        assert response.get("grid", [response.get("reels")]) == shown["grid"]


def sheet_text(bank: Bank, sheet: str) -> bytes:
    """Fetch a sheet; return its canonical text, which is JSON without spaces and with sorted keys."""
    _, body = bank.call(f"/api/v1/casino/sheets/{sheet}")
    text = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(text).hexdigest() == sheet
    return text


def test_the_examples_of_the_document_are_correct() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    seed = bytes(range(32))
    assert hashlib.sha256(seed).hexdigest() in written
    examples = EXAMPLE.findall(written)
    assert len(examples) == 4
    kept = {path.stem: path for path in (REPOSITORY / "service/neobank/casino/sheets").iterdir()}
    sheets = {
        sheet["name"]: sheet for sheet in (json.loads(kept[name].read_bytes()) for name in kept if name in written)
    }
    for game, nonce, block, set_, stops, award in examples:
        stream = nb1.words(seed, game, int(nonce), "neo")
        assert "".join(f"{next(stream):08x}" for _ in range(8)) == block
        found = nb1.play(sheets[game.replace("-", "_")], seed, "neo", int(nonce), 10_200)
        assert (found.set, found.stops, found.award) == (set_, [*map(int, stops.split())], int(award))
