import os

import pytest

from espnet_audiollm.report.plots import plot_losses, read_losses

LINE = (
    "[host] 2026-01-01 00:00:00,000 (trainer:394) INFO: {epoch}epoch results: [train] "
    "iter_time=0.012, loss_ctc=9.900, loss={train}, grad_norm=1.234e+03, optim0_lr0=1.000e-04, "
    "time=3 minutes and 2.1 seconds, total_count=100, gpu_max_cached_mem_GB=0.000, "
    "[valid] loss_ctc=8.800, loss={valid}, time=2.5 seconds, total_count=4, "
    "[att_plot] time=0 seconds, total_count=0\n"
)


def test_losses_of_espnet_logs(tmp_path):
    noise = "INFO: 1epoch:train:1-50batch: loss=99.000\n"
    lines = [
        noise,
        LINE.format(epoch=1, train="2.500", valid="1.200e+03"),
        LINE.format(epoch=2, train="nan", valid="9.100e-04"),
    ]
    (tmp_path / "train.log").write_text("".join(lines))
    losses = read_losses(tmp_path)
    assert losses.train[1] == 2.5 and losses.train[2] != losses.train[2]  # nan
    assert losses.valid == {1: 1200.0, 2: 0.00091}


def test_a_resumed_run_overrides(tmp_path):
    old, new = tmp_path / "train.1.log", tmp_path / "train.log"
    old.write_text("".join(LINE.format(epoch=e, train=f"{9 - e}.0", valid="5.0") for e in (1, 2)))
    new.write_text("".join(LINE.format(epoch=e, train=f"{5 - e}.0", valid="4.0") for e in (2, 3)))
    os.utime(old, (1, 1))
    losses = read_losses(tmp_path)
    assert losses.train == {1: 8.0, 2: 3.0, 3: 2.0}
    train, valid = plot_losses(losses).axes[0].lines
    assert (list(train.get_xdata()), list(train.get_ydata())) == ([1, 2, 3], [8.0, 3.0, 2.0])
    assert (list(valid.get_xdata()), list(valid.get_ydata())) == ([1, 2, 3], [5.0, 4.0, 4.0])


def test_the_line_of_espnets_own_reporter(tmp_path):
    reporter_class = pytest.importorskip("espnet2.train.reporter").Reporter
    reporter = reporter_class()
    reporter.set_epoch(1)
    for key, loss in (("train", 2.0), ("valid", 3.5)):
        with reporter.observe(key) as sub:
            sub.register({"acc": 0.5, "loss": loss})
            sub.next()
    (tmp_path / "train.log").write_text(f"INFO: {reporter.log_message(1)}\n")
    losses = read_losses(tmp_path)
    assert (losses.train, losses.valid) == ({1: 2.0}, {1: 3.5})


@pytest.mark.parametrize("log, message", [(None, "no train.log"), ("x\n", "no epoch is finished")])
def test_bad_logs(tmp_path, log, message):
    if log is not None:
        (tmp_path / "train.log").write_text(log)
    with pytest.raises(ValueError, match=message):
        read_losses(tmp_path)
