import pytest
import torch
from tiny_models import FAMILIES, PlainNeurons, byte_tokenizer
from neuronxa_core import models

@pytest.mark.parametrize("family", FAMILIES)
def test_x(family, loaded, tiny):
    l = loaded(family)
    f = FAMILIES[family]
    print(l.info, l.feed_forwards[0], type(l.tokenizer).__name__)
    ids = byte_tokenizer(True).encode("the cat sat, и").ids
    assert l.tokenizer("the cat sat, и")["input_ids"] == ids
    plain = PlainNeurons(family, tiny(family))
    seen = {}
    for k in range(3):
        for n in ("product", "gate"):
            path, side = l.feed_forwards[k].module_for(n)
            m = l.model.get_submodule(path)
            if side == "input": m.register_forward_pre_hook(lambda _m, i, k=k, n=n: seen.__setitem__((k, n), i[0]))
            else: m.register_forward_hook(lambda _m, i, o, k=k, n=n: seen.__setitem__((k, n), o))
        l.model.get_submodule(plain.first_path(k)).register_forward_pre_hook(lambda _m, i, k=k: seen.__setitem__(k, i[0]))
    with torch.no_grad(): l.model(input_ids=torch.tensor([ids]))
    for k in range(3):
        for n in ("product", "gate"):
            want = plain.activations(k, seen[k], n)
            print(k, n, want.abs().mean().item(), (want>0).double().mean().item(), (want-seen[k,n]).abs().max().item())
