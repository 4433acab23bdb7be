"""ELECTRA and BERT at equal compute: plan, runs, results."""
