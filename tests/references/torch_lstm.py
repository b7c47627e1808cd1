"""Make torch_lstm.npz: what PyTorch's LSTM answers, forwards and backwards, so that tests need no PyTorch.

pip install torch numpy && python tests/references/torch_lstm.py
"""

from pathlib import Path

import numpy as np
import torch

STEPS, BATCH, WIDTH, CELLS = 17, 3, 6, 5

torch.manual_seed(1)
lstm = torch.nn.LSTM(WIDTH, CELLS, dtype=torch.float64)
x = torch.randn(STEPS, BATCH, WIDTH, dtype=torch.float64, requires_grad=True)
h0 = torch.randn(1, BATCH, CELLS, dtype=torch.float64, requires_grad=True)
c0 = torch.randn(1, BATCH, CELLS, dtype=torch.float64, requires_grad=True)
weigh = torch.randn(STEPS, BATCH, CELLS, dtype=torch.float64)  # makes every output count differently
output, (h, c) = lstm(x, (h0, c0))
((output * weigh).sum() + c.square().sum()).backward()

arrays = {
    "x": x, "h0": h0[0], "c0": c0[0], "weigh": weigh, "output": output, "last_c": c[0],
    "input": lstm.weight_ih_l0.T, "recurrent": lstm.weight_hh_l0.T, "bias": lstm.bias_ih_l0 + lstm.bias_hh_l0,
    "d_x": x.grad, "d_h0": h0.grad[0], "d_c0": c0.grad[0],
    "d_input": lstm.weight_ih_l0.grad.T, "d_recurrent": lstm.weight_hh_l0.grad.T, "d_bias": lstm.bias_ih_l0.grad,
}  # fmt: skip
path = Path(__file__).with_suffix(".npz")
np.savez(path, allow_pickle=False, torch=torch.__version__, **{k: v.detach().numpy() for k, v in arrays.items()})
print(f"wrote {path.name} with PyTorch {torch.__version__}")
