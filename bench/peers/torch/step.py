"""Times training steps of a GPT-2-like decoder in PyTorch on the CPU, written as nanoGPT writes them: Heddle's peer.

    pip install torch==2.13.0
    python bench/peers/torch/step.py '{"layers": 4, "hiddenSize": 128, "heads": 4, "sequenceLength": 64,
        "batchSize": 12, "vocabSize": 65, "threads": 2}'

A step is forward, backward, clipping to norm 1 and AdamW, on one batch that stays the same. Prints one JSON line;
times are in seconds, `peakBytes` is the largest resident size of the whole process.

With --serve before the case it warms up, prints {"ready": true, "version", "loss"}, and then answers every line `step K`
on stdin with the seconds of each of K steps, so that a benchmark can take turns with it within one run. It ends when
stdin does. `"weights": FILE.safetensors` gives the model Heddle's weights and batch; `loss` is what they have.

Without torch it prints {"absent": reason} and exits with 0.
"""

import ctypes
import json
import resource
import statistics
import struct
import sys
import time
from dataclasses import dataclass

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ModuleNotFoundError as error:
    if error.name != 'torch':
        raise
    print(json.dumps({'absent': 'torch is not installed (pip install torch==2.13.0)'}))
    sys.exit(0)


@dataclass
class Case:
    layers: int
    hiddenSize: int
    heads: int
    sequenceLength: int
    batchSize: int
    vocabSize: int
    threads: int
    precision: str = 'float32'  # or 'bf16': autocast
    compile: bool = False  # torch.compile; needs a C++ compiler and Python's headers
    weights: str = ''  # a safetensors file with Heddle's names, and a batch
    fused: bool = True  # AdamW in one kernel: the faster one in every case measured
    warmup: int = 5
    steps: int = 20

    def __post_init__(self):
        if self.precision not in ('float32', 'bf16'):
            raise ValueError(f"expected precision 'float32' or 'bf16' but received {self.precision!r}")


def keep_memory():
    """Has glibc keep freed activations: by default it unmaps them and each step faults them in again, page by page.

    PyTorch's tuning guide preloads another allocator to the same end; this needs nothing installed.
    """
    if sys.platform != 'linux':
        return
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt:
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30)


def peak_bytes():
    """The largest resident size of this process since it began."""
    if sys.platform == 'linux':
        with open('/proc/self/status') as status:
            return next(1024 * int(line.split()[1]) for line in status if line.startswith('VmHWM'))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


class Block(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, 4 * hidden)
        self.down = nn.Linear(4 * hidden, hidden)

    def forward(self, x):
        batch, length, hidden = x.shape
        parts = self.qkv(self.norm1(x)).split(hidden, dim=2)
        query, key, value = (p.view(batch, length, self.heads, -1).transpose(1, 2) for p in parts)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, hidden))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    def __init__(self, case):
        super().__init__()
        self.tokens = nn.Embedding(case.vocabSize, case.hiddenSize)
        self.positions = nn.Embedding(case.sequenceLength, case.hiddenSize)
        self.blocks = nn.ModuleList(Block(case.hiddenSize, case.heads) for _ in range(case.layers))
        self.norm = nn.LayerNorm(case.hiddenSize)
        self.head = nn.Linear(case.hiddenSize, case.vocabSize, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(('out.weight', 'down.weight'))
                nn.init.normal_(parameter, std=0.02 / (2 * case.layers) ** 0.5 if residual else 0.02)
            elif name.endswith('bias'):
                nn.init.zeros_(parameter)

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


def read_tensors(path):
    """The float32 and int32 tensors of a safetensors file."""
    with open(path, 'rb') as file:
        (size,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(size))
        data = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name != '__metadata__':
            begin, end = entry['data_offsets']
            dtype = torch.int32 if entry['dtype'] == 'I32' else torch.float32
            tensors[name] = torch.frombuffer(data[begin:end], dtype=dtype).reshape(entry['shape'])
    return tensors


def adopt(model, tensors):
    """Gives a Decoder Heddle's weights: other names, and matrices that lie the other way round."""
    parts = {
        'embedding': 'tokens',
        'layers': 'blocks',
        'attention.qkv': 'qkv',
        'attention.output': 'out',
        'attentionNorm': 'norm1',
        'feedForwardNorm': 'norm2',
        'feedForward.up': 'up',
        'feedForward.down': 'down',
    }
    state = {}
    for name, values in tensors.items():
        is_linear = name.endswith('.weight') and ('attention.' in name or 'feedForward.' in name)
        for ours, theirs in parts.items():
            name = name.replace(f'{ours}.', f'{theirs}.')
        state[name] = values.T if is_linear else values
    state['head.weight'] = state['tokens.weight']
    model.load_state_dict(state)


class Training:
    def __init__(self, case):
        keep_memory()
        torch.manual_seed(1)
        torch.set_num_threads(case.threads)
        self.case = case
        self.model = Decoder(case)
        self.forward = torch.compile(self.model) if case.compile else self.model
        parameters = list(self.model.parameters())
        groups = [
            {'params': [p for p in parameters if p.dim() == 2], 'weight_decay': 0.1},
            {'params': [p for p in parameters if p.dim() == 1], 'weight_decay': 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=case.fused)
        tokens = torch.randint(case.vocabSize, (case.batchSize, case.sequenceLength + 1))
        self.batch = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        if case.weights:
            tensors = read_tensors(case.weights)
            self.batch = tuple(
                tensors.pop(name).view(case.batchSize, case.sequenceLength).long() for name in ('inputIds', 'targets')
            )
            adopt(self.model, tensors)

    def loss(self):
        with torch.autocast('cpu', torch.bfloat16, enabled=self.case.precision == 'bf16'):
            return self.forward(*self.batch)

    def step(self):
        loss = self.loss()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def run(self, steps):
        """The seconds and the loss of each step."""
        seconds, losses = [], []
        for _ in range(steps):
            start = time.perf_counter()
            losses.append(self.step())
            seconds.append(time.perf_counter() - start)
        return seconds, losses


def setting(case):
    return {'torch': torch.__version__, 'threads': torch.get_num_threads(), 'compile': case.compile}


def measure(training, warmup_losses):
    case = training.case
    seconds, losses = training.run(case.steps)
    return {
        'median': statistics.median(seconds),
        'min': min(seconds),
        'steps': case.steps,
        'lossFirst': (warmup_losses + losses)[0],
        'lossLast': losses[-1],
        'peakBytes': peak_bytes(),
        **setting(case),
    }


def serve(training, loss):
    print(json.dumps({'ready': True, 'version': torch.__version__, 'loss': loss}), flush=True)
    for line in sys.stdin:
        command, _, count = line.strip().partition(' ')
        if command != 'step' or not count.isdecimal() or int(count) < 1:
            print(json.dumps({'error': f'expected `step K` but received {line.strip()!r}'}), flush=True)
            continue
        seconds, losses = training.run(int(count))
        print(json.dumps({'seconds': seconds, 'lossLast': losses[-1]}), flush=True)


def main(arguments):
    serving = arguments[:1] == ['--serve']
    try:
        (text,) = arguments[serving:]
        case = Case(**json.loads(text))
    except (TypeError, ValueError) as error:
        sys.exit(f'step.py: expected [--serve] and one JSON case: {error}')
    training = Training(case)
    _, warmup_losses = training.run(case.warmup)
    if serving:
        serve(training, warmup_losses[0])
    else:
        print(json.dumps(measure(training, warmup_losses)))


if __name__ == '__main__':
    main(sys.argv[1:])
