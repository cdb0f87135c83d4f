"""Times causal scaled_dot_product_attention in PyTorch on a GPU, forward and backward apart.

    python bench/peers/torch/cuda_attention.py '{"attention": "flash", "cases": [{"precision": "bf16", "batchSize": 16,
        "sequenceLength": 1024, "heads": 32, "headDim": 64}]}'

Times are medians of milliseconds between CUDA events. Prints one JSON line with "results", one for each case, {"error": message}
where this kernel does not take it; or {"absent": reason} where there is no torch or no GPU.
"""

import json
import statistics
import sys

from cuda_step import attention_backend, time_of
from step import F, torch


def measure(case, count=20):
    dtype = {'bf16': torch.bfloat16, 'float32': torch.float32}[case['precision']]
    # As a projection gives them, [B, T, H, D]: what the op of the model is given too.
    shape = (case['batchSize'], case['sequenceLength'], case['heads'], case['headDim'])
    q, k, v = (torch.randn(shape, device='cuda', dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3))

    def forward():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    y = forward()
    dy = torch.randn_like(y)

    def backward():
        torch.autograd.grad(y, (q, k, v), dy, retain_graph=True)

    times = {}
    for name, run in (('forward', forward), ('backward', backward)):
        time_of(run, 5)
        times[name] = statistics.median(time_of(run, count))
    return times


def main(arguments):
    try:
        (text,) = arguments
        asked = json.loads(text)
        backend, cases = asked['attention'], asked['cases']
    except (KeyError, TypeError, ValueError) as error:
        sys.exit(f'cuda_attention.py: expected one JSON object with attention and cases: {error!r}')
    if not torch.cuda.is_available():
        return {'absent': 'torch sees no GPU'}
    torch.set_float32_matmul_precision('highest')
    results = []
    with attention_backend(backend):
        for case in cases:
            try:
                results.append(measure(case))
            except Exception as error:  # no kernel of this kind for the case, or no memory
                lines = str(error).strip().splitlines()
                results.append({'error': f'{type(error).__name__}: {lines[0] if lines else ""}'[:300]})
    return {'torch': torch.__version__, 'results': results}


if __name__ == '__main__':
    print(json.dumps(main(sys.argv[1:])))
