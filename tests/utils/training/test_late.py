"""The training loop reads no number of a step before the next one is queued, and nothing changes by that."""

import jittor as jt
import numpy as np
import pytest
from support import tiny
from test_optim import batches, cut, settings, without_dropout

import train
from utils.host_copy import HostCopy
from utils.training import interrupt, late, optim
from utils.training.amp import LossScaler
from utils.weights import checkpoint


class Log:
    """Keeps what would be written, and when: the number of steps that were queued by then."""

    def __init__(self):
        self.rows, self.queued, self.seen = [], 0, []

    def step(self, step, lr, duration, data_time, **values):
        assert duration >= data_time >= 0
        self.rows.append({"step": step, "lr": lr, **values})
        self.seen.append(self.queued)


class Run:
    """The loop of train.py without its files: `take(batch)` is one step, `weights()` all state of the optimizer."""

    def __init__(self, folder, scaler=None, step=0, **others):
        jt.set_global_seed(3)
        self.args = settings(snapshot_dir=str(folder), **others)
        self.model = without_dropout(tiny.tiny(5, 2))
        criterion = train.build_criterion(self.args, {"num_classes": 5, "ignore_label": 255}, self.model, None, {})
        self.optimizer = train.build_optimizer(self.args, self.model, criterion)
        self.log, self.step, self.scaler = Log(), step, scaler or LossScaler()
        self.saves = []
        due = lambda: bool(self.saves)  # noqa: E731
        self.rows = late.Rows(folder, vars(self.args), self.model, self.scaler, due, self.log)
        self.parts = self.args, self.model, criterion, self.scaler, self.optimizer, self.rows

    def take(self, images, label, everything=False):
        facts = {"started": 0.0, "data_time": 0.0, "epoch": 0}
        train.train_step(*self.parts, cut(images, label, self.args.accumulate), self.step, facts)
        self.step, self.log.queued = self.step + 1, self.log.queued + 1
        return self.rows.read(everything)

    def weights(self):
        state = {**self.model.state_dict(), **dict(optim.named_moments(self.optimizer))}
        return {key: value.numpy().copy() for key, value in state.items() if "running" not in key}


def same(a, b):
    assert not [key for key in a if a[key].tobytes() != b[key].tobytes()]


@pytest.fixture
def host_reads(monkeypatch):
    """The names of all calls by which Python waits for a Var."""
    reads = []

    def watch(owner, name, waits=lambda *arguments: True):
        original = getattr(owner, name)

        def call(*arguments, **options):
            if waits(*arguments, *options.values()):
                reads.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    for name in ("numpy", "item", "tolist", "fetch_sync"):
        watch(jt.Var, name)
    data = jt.Var.data
    monkeypatch.setattr(jt.Var, "data", property(lambda v: (reads.append("data"), data.__get__(v))[1]))
    watch(jt, "fetch_sync")
    monkeypatch.setattr(HostCopy, "numpy", lambda copy: copy.values)  # only waits for the copy of a row
    watch(jt, "sync_all", lambda *arguments: any(arguments))
    watch(jt, "sync", lambda values, *arguments: any(arguments))
    return reads


@pytest.mark.parametrize("others", [{}, {"accumulate": 2, "optimizer": "adamw", "ohem": True, "ohem_keep": 1920}])
def test_the_loop_reads_nothing_on_the_host(tmp_path, host_reads, others):
    run = Run(tmp_path, **others)
    del host_reads[:]
    for images, label in batches(np.random.default_rng(5), 4):
        run.take(images, label)
    assert host_reads == []
    jt.ones(2).numpy(), jt.ones(1).item(), jt.ones(2).data, jt.sync_all(True)  # what it would see
    assert {"numpy", "item", "data", "sync_all"} <= set(host_reads)


def test_rows_are_used_after_the_next_step_is_queued_and_are_those_of_their_step(tmp_path):
    late_run, prompt = Run(tmp_path), Run(tmp_path)
    for images, label in batches(np.random.default_rng(5), 5):
        late_run.take(images, label)
        prompt.take(images, label, everything=True)
    assert late_run.log.seen == [2, 3, 4, 5] and prompt.log.seen == [1, 2, 3, 4, 5]
    late_run.rows.read(True)
    assert late_run.log.rows == prompt.log.rows and [row["step"] for row in prompt.log.rows] == [1, 2, 3, 4, 5]
    assert {"loss", "main", "aux", "gradient", "gamma", "epoch", "lr"} <= set(prompt.log.rows[0])
    assert prompt.log.rows[-1]["gamma"] == prompt.model.head.cca.gamma.item() == prompt.rows.last["gamma"]
    same(late_run.weights(), prompt.weights())


def test_requests_of_a_rank_are_seen_one_step_later_and_then_no_row_is_left(tmp_path, monkeypatch):
    run, data = Run(tmp_path), batches(np.random.default_rng(5), 6)
    run.rows.alone = False
    assert run.take(*next(data)) == (False, False)
    run.saves.append(1)
    assert run.take(*next(data)) == (False, False)
    run.saves.clear()
    assert run.take(*next(data)) == (False, True) and len(run.log.rows) == 3
    monkeypatch.setattr(interrupt, "stop_requested", lambda: True)
    assert run.take(*next(data)) == (False, False)
    assert run.take(*next(data)) == (True, False) and len(run.log.rows) == 5


def test_a_request_of_the_only_rank_takes_effect_at_once(tmp_path):
    run, data = Run(tmp_path), batches(np.random.default_rng(5), 2)
    assert run.take(*next(data)) == (False, False) and run.log.rows == []
    run.saves.append(1)
    assert run.take(*next(data)) == (False, True) and len(run.log.rows) == 2


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_that_is_not_finite_and_the_next_one_change_nothing(tmp_path, optimizer):
    """The post-mortem names the step, its samples and the weights before it."""
    run, data = Run(tmp_path, optimizer=optimizer, learning_rate=1e-3), batches(np.random.default_rng(5), 4)
    run.take(*next(data))
    run.take(*next(data))
    before = run.weights()
    images, label = next(data)
    images[1, 2, 5, 5] = np.nan
    run.take(images, label)
    with pytest.raises(FloatingPointError, match="not finite at step 2 .*The weights before the step"):
        run.take(*next(data))
    same(before, run.weights())
    arrays, meta = checkpoint.read(tmp_path / "postmortem_2_rank0.npz")
    assert meta["step"] == 2 and "nan" in meta["losses"]["gradient"]
    np.testing.assert_array_equal(arrays["batch/images0"], images)
    assert all((arrays[key] == before[key]).all() for key in arrays if key in before)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_that_float16_skips_leave_no_trace(tmp_path, optimizer):
    """Two gradients overflow: the weights, and the step count of AdamW, are those of a run that did not see them."""
    data = list(batches(np.random.default_rng(5), 6))
    scaler = LossScaler("float16", scale=2.0**20, patience=3)
    rates = {"optimizer": optimizer, "learning_rate": 1e-3, "power": 0.0}
    run, plain = Run(tmp_path, scaler, **rates), Run(tmp_path, **rates)
    for k, (images, label) in enumerate(data):
        bad = images.copy()
        bad[0, 0, 3, 3] = np.inf
        run.take(bad if k in (1, 2) else images, label)
        if k not in (1, 2):
            plain.take(images, label)
    run.rows.read(True), plain.rows.read(True)
    ours, expected = run.weights(), plain.weights()
    for key, value in expected.items():
        np.testing.assert_allclose(ours[key], value, atol=2e-6 * max(1e-3, abs(value).max()), err_msg=key)
    assert scaler.state() == {"scale": 2.0**19, "good": 0, "skipped": 2}
    assert ["gradient" in row for row in run.log.rows] == [True, False, False, True, True, True]
    for a, b in zip([run.log.rows[k] for k in (0, 3, 4, 5)], plain.log.rows):
        assert a["gradient"] == pytest.approx(b["gradient"], rel=1e-4)


def test_overflows_at_the_smallest_scale_end_the_run_one_step_later(tmp_path):
    run, data = Run(tmp_path, LossScaler("float16", scale=1.0)), batches(np.random.default_rng(5), 2)
    images, label = next(data)
    run.take(images * np.inf, label)
    before = run.weights()
    with pytest.raises(FloatingPointError, match="not finite even at loss scale 1 .1 steps"):
        run.take(*next(data))
    same(before, run.weights())
