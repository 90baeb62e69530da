"""The lab: measure servers side by side, in stages that meet only in the saved results.

``measure`` runs the experiments and fills a `results.Results`, which is saved as
``results.json`` and ``results.csv``; tables, plots and the report are made of those files
alone.  Needs the extra ``[lab]``, apart from `handlers`, which servers run.
"""
