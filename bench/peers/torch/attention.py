"""Times causal scaled_dot_product_attention of PyTorch on the CPU when asked, forward and backward, in float32.

    python bench/peers/torch/attention.py '{"heads": 8, "headDim": 64, "threads": 2}'

Prints {"version"}, and answers every line `attention LENGTH COUNT` with {"forward": [...], "backward": [...]}, the seconds
of COUNT runs on one row of that length. It ends when stdin does. Without torch it prints {"absent": reason}.
"""

import json
import sys
import time

from step import F, keep_memory, torch  # prints {"absent": reason} and ends where torch is missing


def measure(heads, head_dim, length, count):
    query, key, value = (torch.randn(1, heads, length, head_dim, requires_grad=True) for _ in range(3))
    gradient = torch.randn(1, heads, length, head_dim)
    forward, backward = [], []
    for run in range(count + 1):
        started = time.perf_counter()
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        between = time.perf_counter()
        y.backward(gradient)
        ended = time.perf_counter()
        query.grad = key.grad = value.grad = None
        if run:  # the first warms up
            forward.append(between - started)
            backward.append(ended - between)
    return {'forward': forward, 'backward': backward}


def main(text):
    case = json.loads(text)
    keep_memory()
    torch.set_num_threads(case['threads'])
    print(json.dumps({'version': torch.__version__}), flush=True)
    for line in sys.stdin:
        _, length, count = line.split()
        print(json.dumps(measure(case['heads'], case['headDim'], int(length), int(count))), flush=True)


if __name__ == '__main__':
    main(sys.argv[1])
