"""Times training steps of step.py's decoder in PyTorch on a GPU, in one of the ways PyTorch offers.

    python bench/peers/torch/cuda_step.py '{"layers": 12, "hiddenSize": 768, "heads": 12, "sequenceLength": 1024,
        "batchSize": 32, "vocabSize": 50257, "precision": "bf16", "mode": "compile", "attention": "flash"}'

A step is forward, backward, clipping to norm 1 and fused AdamW on one batch that stays the same. Times come from CUDA
events, one after each step, with no synchronisation between steps. Prints one JSON line. With "text" and "steps" in the
case it prints the losses of so many steps on random windows of that file's characters instead. {"ceilings": true} in place of
a case measures a copy and matrix products; {"outOfMemory": true} says that the batch does not fit, {"absent": reason} that
there is no torch or no GPU, {"error": message} that this way does not work here.
"""

import json
import statistics
import sys
from contextlib import nullcontext
from dataclasses import dataclass

from step import Decoder, nn, torch  # prints {"absent": reason} and ends where torch is missing


@dataclass
class Case:
    layers: int
    hiddenSize: int
    heads: int
    sequenceLength: int
    batchSize: int
    vocabSize: int
    precision: str = 'bf16'  # autocast; or 'tf32', 'float32'
    mode: str = 'compile'  # or 'eager', 'reduce-overhead'
    attention: str = 'flash'  # or 'cudnn', 'efficient', 'math'
    warmup: int = 10
    seconds: float = 5.0
    learningRate: float = 1e-4
    text: str = ''
    steps: int = 0

    def __post_init__(self):
        known = {
            'precision': ('bf16', 'tf32', 'float32'),
            'mode': ('eager', 'compile', 'reduce-overhead'),
            'attention': ('flash', 'cudnn', 'efficient', 'math'),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f'expected {name} to be one of {values} but received {getattr(self, name)!r}')


def attention_backend(name):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backends = {
        'flash': SDPBackend.FLASH_ATTENTION,
        'cudnn': SDPBackend.CUDNN_ATTENTION,
        'efficient': SDPBackend.EFFICIENT_ATTENTION,
        'math': SDPBackend.MATH,
    }
    return sdpa_kernel(backends[name])


def time_of(run, count):
    """Milliseconds of each of `count` runs."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize()
    return [first.elapsed_time(second) for first, second in zip(events, events[1:])]


class Training:
    def __init__(self, case):
        torch.manual_seed(1)
        torch.set_float32_matmul_precision('highest' if case.precision == 'float32' else 'high')
        torch.backends.cudnn.allow_tf32 = case.precision != 'float32'
        self.case = case
        self.model = Decoder(case).cuda()
        modes = {'eager': None, 'compile': 'default', 'reduce-overhead': 'reduce-overhead'}
        mode = modes[case.mode]
        self.forward = torch.compile(self.model, mode=mode) if mode else self.model
        parameters = list(self.model.parameters())
        groups = [
            {'params': [p for p in parameters if p.dim() == 2], 'weight_decay': 0.1},
            {'params': [p for p in parameters if p.dim() == 1], 'weight_decay': 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=case.learningRate, betas=(0.9, 0.95), fused=True)
        tokens = torch.randint(case.vocabSize, (case.batchSize, case.sequenceLength + 1), device='cuda')
        self.batch = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def step(self):
        if self.case.mode == 'reduce-overhead':
            torch.compiler.cudagraph_mark_step_begin()
        bf16 = self.case.precision == 'bf16'
        with torch.autocast('cuda', torch.bfloat16) if bf16 else nullcontext():
            loss = self.forward(*self.batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach().clone()


def measure(case):
    with attention_backend(case.attention):
        training = Training(case)
        losses = [training.step() for _ in range(case.warmup)]
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        trial = statistics.median(time_of(training.step, 3))
        count = max(10, min(2000, round(1000 * case.seconds / trial)))
        milliseconds = sorted(time_of(training.step, count))
        losses.append(training.step())
    middle = statistics.median(milliseconds)

    def quantile(share):
        return milliseconds[round(share * (count - 1))]

    return {
        'milliseconds': {'median': middle, 'p10': quantile(0.1), 'p90': quantile(0.9), 'steps': count},
        'tokensPerSecond': case.batchSize * case.sequenceLength / middle * 1000,
        'lossFirst': losses[0].item(),
        'lossLast': losses[-1].item(),
        'peakBytes': torch.cuda.max_memory_allocated(),
        'reservedBytes': torch.cuda.max_memory_reserved(),
    }


def curve(case):
    with open(case.text, encoding='latin-1') as file:
        text = file.read()
    numbers = {character: number for number, character in enumerate(sorted(set(text)))}
    if len(numbers) > case.vocabSize:
        raise ValueError(f'expected at most {case.vocabSize} characters but {case.text} has {len(numbers)}')
    tokens = torch.tensor([numbers[character] for character in text], device='cuda')
    window = torch.arange(case.sequenceLength + 1, device='cuda')
    losses = []
    with attention_backend(case.attention):
        training = Training(case)
        for _ in range(case.steps):
            starts = torch.randint(len(tokens) - case.sequenceLength, (case.batchSize, 1), device='cuda')
            windows = tokens[starts + window]
            training.batch = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
            losses.append(training.step())
    return {'torch': torch.__version__, 'losses': torch.stack(losses).tolist()}


def ceilings():
    """What a copy and a product of random matrices reach: the bounds that kernels are held against."""
    source = torch.randn(2**28, device='cuda')
    target = torch.empty_like(source)
    for _ in range(3):
        target.copy_(source)
    copy = statistics.median(time_of(lambda: target.copy_(source), 20))
    found = {
        'torch': torch.__version__,
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version(),
        'gpu': torch.cuda.get_device_name(),
        'copyGigabytesPerSecond': 2 * source.nbytes / copy / 1e6,
        'matmulTeraflops': {},
    }
    del source, target
    size = 8192
    for name, dtype, precision in (
        ('bf16', torch.bfloat16, 'high'),
        ('tf32', torch.float32, 'high'),
        ('float32', torch.float32, 'highest'),
    ):
        torch.set_float32_matmul_precision(precision)
        left, right = (torch.randn(size, size, device='cuda').to(dtype) for _ in range(2))
        for _ in range(3):
            left @ right
        milliseconds = statistics.median(time_of(lambda: left @ right, 10))
        found['matmulTeraflops'][name] = 2 * size**3 / milliseconds / 1e9
    return found


def main(arguments):
    try:
        (text,) = arguments
        asked = json.loads(text)
        case = None if asked.get('ceilings') else Case(**asked)
    except (TypeError, ValueError, AttributeError) as error:
        sys.exit(f'cuda_step.py: expected one JSON case or {{"ceilings": true}}: {error}')
    if not torch.cuda.is_available():
        return {'absent': 'torch sees no GPU'}
    try:
        if not case:
            return ceilings()
        return curve(case) if case.text else measure(case)
    except torch.cuda.OutOfMemoryError:
        return {'outOfMemory': True, 'error': 'out of memory'}
    except Exception as error:  # a way that this version or machine does not have: no compiler, no such attention
        lines = str(error).strip().splitlines()
        return {'error': f'{type(error).__name__}: {lines[0] if lines else ""}'[:500]}


if __name__ == '__main__':
    print(json.dumps(main(sys.argv[1:])))
