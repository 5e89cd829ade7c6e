-- Origin and key of the ledger.
SELECT origin, vkey FROM public.ledger;
