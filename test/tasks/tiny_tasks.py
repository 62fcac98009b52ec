"""Command lines of the two tasks on small data."""

from pathlib import Path

import yaml

ENCODER = {
    "encoder_conf": dict(
        output_size=16,
        attention_heads=2,
        linear_units=16,
        num_blocks=1,
        dropout_rate=0.0,
        cnn_module_kernel=3,
        subsampling_channels=2,
    ),
    "batch_type": "sorted",
    "batch_size": 4,
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 2,
    "num_workers": 0,
    "num_att_plot": 0,
    "use_matplotlib": False,
}


def task_options(data: Path, output: Path, target: str, **more) -> list[str]:
    config = output / "given.yaml"
    output.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump({**ENCODER, **more}))
    cmd = ["--config", str(config), "--output_dir", str(output)]
    for split in ("train", "valid"):
        flag = f"--{split}_data_path_and_name_and_type"
        cmd += [flag, f"{data}/wav.scp,speech,sound", flag, f"{data}/{target}"]
        cmd += [f"--{split}_shape_file", f"{data}/shape"]
    return cmd


def ctc_options(data: Path, output: Path, **more) -> list[str]:
    pieces = ["--token_list", f"{data}/bpe/tokens.txt", "--bpemodel", f"{data}/bpe/bpe.model"]
    return task_options(data, output, "text,text,text", **more) + pieces
