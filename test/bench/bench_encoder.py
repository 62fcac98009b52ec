"""Training steps of the CTC encoder on a processor: its parts, and ESPnet's conformer beside it.

    OMP_NUM_THREADS=1 python test/bench/bench_encoder.py            # 16 utterances of 2.5 s
    OMP_NUM_THREADS=1 python test/bench/bench_encoder.py --channels 256 --parts

The sizes are those of egs2/mini/audiollm1/conf/train_ctc.yaml; weights and features are random.
Each part takes a forward and a backward pass, dropout included:

    subsampling TYPE     the convolutions and the linear layer after them, `subsampling_type` TYPE
    layers               only the conformer layers
    CTC TYPE             subsampling, layers, output layer, CTC loss and AdamW
    CTC ESPnet           the same with espnet2's ConformerEncoder: conv2d8 (as many channels as its
                         width), relative positions, batch norm

All take turns on the same batch. Times are medians of this process's own time (`process_time`),
whatever else is running, in float32 and in bfloat16 (autocast).
"""

import argparse
import statistics
import time
from collections import defaultdict

import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder as ESPnetConformer
from torch import nn

from espnet_audiollm.model.conformer import SUBSAMPLING_TYPES, ConformerEncoder
from espnet_audiollm.model.flops import FRAMES_PER_SECOND
from espnet_audiollm.model.masking import valid_mask
from espnet_audiollm.train.wrapping import CPUAutocast

BANDS, FACTOR = 80, 8


def get_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=144)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--kernel", type=int, default=11)
    parser.add_argument("--channels", type=int, default=32, help="of the subsampling")
    parser.add_argument("--batch", type=int, default=16, help="utterances")
    parser.add_argument("--frames", type=int, default=31, help="of 80 ms in each")
    parser.add_argument("--vocab", type=int, default=500, help="outputs of the CTC")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--parts", action="store_true", help="no CTC trainings")
    return parser


def conformer(args, subsampling_type="conv"):
    return ConformerEncoder(
        BANDS,
        output_size=args.width,
        attention_heads=args.heads,
        linear_units=args.hidden,
        num_blocks=args.layers,
        cnn_module_kernel=args.kernel,
        subsampling=FACTOR,
        subsampling_channels=args.channels,
        subsampling_type=subsampling_type,
    )


def espnet_conformer(args):
    return ESPnetConformer(
        BANDS,
        output_size=args.width,
        attention_heads=args.heads,
        linear_units=args.hidden,
        num_blocks=args.layers,
        cnn_module_kernel=args.kernel,
        input_layer="conv2d8",
        macaron_style=True,
        attention_dropout_rate=0.1,
        rel_pos_type="latest",
    )


class Subsampling(nn.Module):
    """A stand-in for a loss after the subsampling of an encoder."""

    def __init__(self, encoder):
        super().__init__()
        self.subsample = encoder.subsample

    def forward(self, bands, lengths):
        return self.subsample(bands, lengths)[0].float().square().mean()


class Layers(nn.Module):
    """A stand-in for a loss after the layers of an encoder, of features of their width."""

    def __init__(self, encoder, args):
        super().__init__()
        self.layers, self.positions = encoder.layers, encoder.positions
        self.register_buffer("x_BTD", torch.randn(args.batch, args.frames, args.width))

    def forward(self, bands, lengths):
        x_BTD = self.x_BTD
        mask_B11T = valid_mask(lengths // FACTOR, x_BTD.shape[1])[:, None, None]
        angles = self.positions(x_BTD.shape[1])
        for layer in self.layers:
            x_BTD = layer(x_BTD, mask_B11T, angles)
        return x_BTD.float().square().mean()


class CTC(nn.Module):
    """An encoder under a CTC loss; a token for every fourth frame."""

    def __init__(self, encoder, args):
        super().__init__()
        self.encoder, self.output = encoder, nn.Linear(args.width, args.vocab)
        tokens = max(args.frames // 4, 1)
        self.register_buffer("tokens", torch.randint(1, args.vocab, (args.batch, tokens)))

    def forward(self, bands, lengths):
        x_BTD, lengths, *_ = self.encoder(bands, lengths)
        log_BTV = self.output(x_BTD).float().log_softmax(-1)
        sizes = torch.full((len(self.tokens),), self.tokens.shape[1])
        return nn.functional.ctc_loss(log_BTV.transpose(0, 1), self.tokens, lengths, sizes)


def parts(args):
    encoders = {kind: conformer(args, kind) for kind in SUBSAMPLING_TYPES}
    found = {f"subsampling {kind}": Subsampling(e) for kind, e in encoders.items()}
    found["layers"] = Layers(encoders["conv"], args)
    if not args.parts:
        found |= {f"CTC {kind}": CTC(conformer(args, kind), args) for kind in SUBSAMPLING_TYPES}
        found["CTC ESPnet"] = CTC(espnet_conformer(args), args)
    return found


def seconds(model, optimizer, batch):
    """This process's time of one step."""
    start = time.process_time()
    model(**batch).backward()
    if optimizer:
        optimizer.step()
    model.zero_grad()
    return time.process_time() - start


def measure(args, models, batch):
    """Medians in seconds by (name, number format); the first round is not counted."""
    systems, times = {}, defaultdict(list)
    for name, model in models.items():
        optimizer = torch.optim.AdamW(model.parameters()) if name.startswith("CTC") else None
        systems[name, "float32"] = model, optimizer
        systems[name, "bfloat16"] = CPUAutocast(model), optimizer
    for repeat in range(args.repeats + 1):
        for key, (model, optimizer) in systems.items():
            spent = seconds(model, optimizer, batch)
            if repeat:
                times[key].append(spent)
    return {key: statistics.median(values) for key, values in times.items()}


def main(argv=None):
    args = get_parser().parse_args(argv)
    torch.manual_seed(0)
    frames = FACTOR * args.frames
    bands = torch.randn(args.batch, frames, BANDS)
    batch = {"bands": bands, "lengths": torch.full((args.batch,), frames)}
    models = {name: model.train() for name, model in parts(args).items()}
    medians = measure(args, models, batch)
    audio = args.batch * frames / FRAMES_PER_SECOND
    print(f"{torch.get_num_threads()} threads, {audio:.1f} s of audio a step\n")
    print(
        "| part | parameters | float32 ms | bfloat16 ms | float32 audio s/s | bfloat16 audio s/s |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, model in models.items():
        size = sum(p.numel() for p in model.parameters())
        spent = [medians[name, kind] for kind in ("float32", "bfloat16")]
        cells = [f"{1e3 * s:.1f}" for s in spent] + [f"{audio / s:.0f}" for s in spent]
        print(f"| {name} | {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
