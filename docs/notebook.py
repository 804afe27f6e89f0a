# %% [markdown]
# # NeuronXA in a notebook
#
# A model, a corpus and every measure as a DataFrame, on the same cache as the app. Open this file in Jupyter (with
# jupytext) or in an editor that knows `# %%` cells, with the project installed (`pip install .`).

# %%
import neuronxa_core as nxa
from neuronxa_core.measures.alignment_tables import sentence_pairs

session = nxa.Session("demo", "demo", "eng_Latn", languages=["por_Latn", "deu_Latn", "tha_Thai"])

# %% [markdown]
# NASCA by language and layer: the share of sentences that find their translation, and are found by it.

# %%
scores = session.measure("alignment", state="nas")
print(scores.pivot(index="layer", columns="language", values="score"))

# %% [markdown]
# The picture of the README: every English sentence with every Portuguese one at layer 4.

# %%
pairs = sentence_pairs(session.plan, session.store, "eng_Latn", "por_Latn", "nas", "weighted", layer=4)
picture = nxa.charts.similarity_matrix(pairs.cosines, pairs.marks(), "Portuguese", "English")

# %% [markdown]
# Any other measure by its name.

# %%
print(nxa.list_measures())
print(session.measure("cka", state="emb").groupby("language")["cka"].max())

# %% [markdown]
# The sentence vectors themselves, [sentence, neuron].

# %%
vectors = session.states("por_Latn", layer=4, state="nas")
print(vectors.shape, vectors.min(), vectors.max())
