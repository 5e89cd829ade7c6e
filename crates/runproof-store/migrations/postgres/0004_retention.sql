-- What is kept of runs that are over: archives, tombstones, and holds that keep both steps off.

CREATE TABLE public.archives (
    tenant_id     text   COLLATE "C" NOT NULL,
    run_id        text   COLLATE "C" NOT NULL,
    run_no        bigint NOT NULL,
    leaves        text   NOT NULL,                -- leaf indexes of its events, in order: '12-14,20'
    bundle        bytea  NOT NULL,
    bundle_digest text   NOT NULL,
    archived_at   text   NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
);

CREATE TABLE public.tombstones (
    tenant_id text   COLLATE "C" NOT NULL,
    run_id    text   COLLATE "C" NOT NULL,
    run_no    bigint NOT NULL,
    leaves    text   NOT NULL,
    seal      text   NOT NULL,
    run_root  text   NOT NULL,
    purged_at text   NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
);

CREATE TABLE public.holds (
    tenant_id text   COLLATE "C" NOT NULL,
    run_id    text   COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,                    -- of the event in the tenant's stream
    reason    text   NOT NULL,
    placed_at text   NOT NULL,
    lifted_at text,
    PRIMARY KEY (tenant_id, run_id, seq)
);

-- rules ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION public.runproof_archives_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM public.tombstones t WHERE t.tenant_id = NEW.tenant_id AND t.run_id = NEW.run_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'archives',
            MESSAGE = 'S6_IMMUTABILITY_VIOLATION: archives is append-only. INSERT rejected. The run is archived or purged.';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM public.run_seals s WHERE s.tenant_id = NEW.tenant_id AND s.run_id = NEW.run_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'archives',
            MESSAGE = 'archives: a run that is not over cannot be archived';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER archives_insert BEFORE INSERT ON public.archives FOR EACH ROW
    EXECUTE FUNCTION public.runproof_archives_insert();
CREATE TRIGGER archives_update BEFORE UPDATE ON public.archives FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: archives is append-only. UPDATE rejected.');
CREATE TRIGGER archives_truncate BEFORE TRUNCATE ON public.archives
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: archives is append-only. TRUNCATE rejected.');

CREATE FUNCTION public.runproof_tombstones_insert() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM public.archives a WHERE a.tenant_id = NEW.tenant_id AND a.run_id = NEW.run_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'tombstones',
            MESSAGE = 'tombstones: a run that is not archived cannot be purged';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tombstones_insert BEFORE INSERT ON public.tombstones FOR EACH ROW
    EXECUTE FUNCTION public.runproof_tombstones_insert();
CREATE TRIGGER tombstones_update BEFORE UPDATE ON public.tombstones FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: tombstones is append-only. UPDATE rejected.');
CREATE TRIGGER tombstones_delete BEFORE DELETE ON public.tombstones FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: tombstones is append-only. DELETE rejected.');
CREATE TRIGGER tombstones_truncate BEFORE TRUNCATE ON public.tombstones
    EXECUTE FUNCTION public.runproof_refuse('S6_IMMUTABILITY_VIOLATION: tombstones is append-only. TRUNCATE rejected.');

CREATE FUNCTION public.runproof_holds_update() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed public.holds := OLD;
BEGIN
    allowed.lifted_at := NEW.lifted_at;
    IF OLD.lifted_at IS NOT NULL OR NEW.lifted_at IS NULL OR NEW IS DISTINCT FROM allowed THEN
        RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = 'holds',
            MESSAGE = 'holds: a hold is lifted once, and nothing else of it changes';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER holds_update BEFORE UPDATE ON public.holds FOR EACH ROW EXECUTE FUNCTION public.runproof_holds_update();
CREATE TRIGGER holds_delete BEFORE DELETE ON public.holds FOR EACH ROW
    EXECUTE FUNCTION public.runproof_refuse('holds: direct DELETE not allowed');
CREATE TRIGGER holds_truncate BEFORE TRUNCATE ON public.holds
    EXECUTE FUNCTION public.runproof_refuse('holds: TRUNCATE not allowed');

-- Rows of a run may go while its archive is there, an archive while the tombstone is there, and nothing while a hold is on
-- the run. The first argument is the text of the refusal; two columns may be named in it.
CREATE FUNCTION public.runproof_remove() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_row     jsonb := to_jsonb(OLD);
    v_run     text;
    v_is_kept boolean;
BEGIN
    v_run := CASE TG_TABLE_NAME
        WHEN 'runs' THEN v_row ->> 'id'
        WHEN 'transitions' THEN CASE WHEN v_row ->> 'stream' LIKE 'run/%' THEN substr(v_row ->> 'stream', 5) END
        ELSE v_row ->> 'run_id' END;
    IF TG_TABLE_NAME = 'archives' THEN
        v_is_kept := EXISTS (SELECT 1 FROM public.tombstones t WHERE t.tenant_id = OLD.tenant_id AND t.run_id = v_run);
    ELSE
        v_is_kept := EXISTS (SELECT 1 FROM public.archives a WHERE a.tenant_id = OLD.tenant_id AND a.run_id = v_run);
    END IF;
    IF v_is_kept AND NOT EXISTS (
        SELECT 1 FROM public.holds h WHERE h.tenant_id = OLD.tenant_id AND h.run_id = v_run AND h.lifted_at IS NULL)
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME, MESSAGE = replace(replace(TG_ARGV[0],
        '{trace_id}', coalesce(v_row ->> 'trace_id', '')), '{step_index}', coalesce(v_row ->> 'step_index', ''));
END $$;
CREATE TRIGGER archives_delete BEFORE DELETE ON public.archives FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: archives direct DELETE not allowed. Purge the run.');
DROP TRIGGER runs_delete ON public.runs;
CREATE TRIGGER runs_delete BEFORE DELETE ON public.runs FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('runs: direct DELETE not allowed');
DROP TRIGGER aos_traces_delete ON public.aos_traces;
CREATE TRIGGER aos_traces_delete BEFORE DELETE ON public.aos_traces FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: aos_traces direct DELETE not allowed. Archive first using cleanup_old_traces(). trace_id={trace_id}');
DROP TRIGGER aos_trace_steps_delete ON public.aos_trace_steps;
CREATE TRIGGER aos_trace_steps_delete BEFORE DELETE ON public.aos_trace_steps FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: aos_trace_steps direct DELETE not allowed. Use archival. step_index={step_index} trace_id={trace_id}');
DROP TRIGGER transitions_delete ON public.transitions;
CREATE TRIGGER transitions_delete BEFORE DELETE ON public.transitions FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: transitions is append-only. DELETE rejected.');
DROP TRIGGER run_seals_delete ON public.run_seals;
CREATE TRIGGER run_seals_delete BEFORE DELETE ON public.run_seals FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('S6_IMMUTABILITY_VIOLATION: run_seals is append-only. DELETE rejected.');
DROP TRIGGER erasures_delete ON public.erasures;
CREATE TRIGGER erasures_delete BEFORE DELETE ON public.erasures FOR EACH ROW
    EXECUTE FUNCTION public.runproof_remove('erasures: direct DELETE not allowed');

-- who may do what --------------------------------------------------------------------------------------------------

-- As in 0003: engine and api see the tenants that the transaction set. Retention reads everything, and deletes of the
-- tenants that the transaction set.
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['archives', 'tombstones', 'holds'] LOOP
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', v_table);
        EXECUTE format('CREATE POLICY of_tenants ON public.%I TO runproof_engine, runproof_api USING '
            '((tenant_id = ANY (string_to_array(current_setting(''runproof.tenants'', true), '',''))) IS TRUE)', v_table);
        EXECUTE format('CREATE POLICY of_readers ON public.%I FOR SELECT TO runproof_auditor, runproof_retention '
            'USING (true)', v_table);
        EXECUTE format('CREATE POLICY of_owner ON public.%I TO %I USING (true)', v_table, current_user);
    END LOOP;
    FOREACH v_table IN ARRAY ARRAY['archives', 'transitions', 'run_seals', 'runs', 'aos_traces', 'aos_trace_steps',
        'erasures'] LOOP
        EXECUTE format('ALTER POLICY of_tenants ON public.%I TO runproof_engine, runproof_api, runproof_retention', v_table);
    END LOOP;
END $$;

REVOKE ALL ON public.archives, public.tombstones, public.holds FROM PUBLIC;
GRANT SELECT ON public.archives, public.tombstones, public.holds
    TO runproof_engine, runproof_api, runproof_auditor, runproof_retention;
GRANT INSERT ON public.archives, public.tombstones, public.holds TO runproof_engine;
GRANT UPDATE (lifted_at) ON public.holds TO runproof_engine;
GRANT UPDATE (archived_at) ON public.aos_traces, public.aos_trace_steps TO runproof_engine;
GRANT DELETE ON
    public.archives, public.transitions, public.run_seals, public.runs, public.aos_traces, public.aos_trace_steps,
    public.erasures
    TO runproof_retention;

REVOKE ALL ON FUNCTION
    public.runproof_archives_insert(), public.runproof_tombstones_insert(), public.runproof_holds_update(),
    public.runproof_remove()
    FROM PUBLIC;
