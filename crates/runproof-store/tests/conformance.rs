//! What every store promises. Written once; the last lines name the stores that are held to it.

pub(crate) mod append;
mod claim;
mod kv;
pub(crate) mod ledger;
mod read;
mod retention;
mod tenant;

/// Makes one test of every claim, for one store.
macro_rules! conformance {
    ($store:ident, $begin:expr, $($family:ident: $($claim:ident),+ $(,)?);+ $(;)?) => {
        mod $store {
            $($(
                #[test]
                fn $claim() {
                    let mut subject = $begin;
                    crate::support::populate(subject.store().as_ref());
                    super::$family::$claim(subject.as_mut());
                    crate::support::audit_ledger(subject.as_ref());
                }
            )+)+
        }
    };
}

/// The claims, for one store.
macro_rules! held_to_it {
    ($store:ident, $begin:expr) => {
        conformance! { $store, $begin,
            append:
                runs_of_a_tenant_are_numbered_without_gaps,
                a_run_of_nobody_is_not_opened,
                an_idempotency_key_makes_one_run,
                a_run_id_is_used_once_in_a_tenant,
                an_append_at_a_stale_head_writes_nothing,
                an_append_under_another_claim_writes_nothing,
                an_end_under_another_claim_writes_nothing,
                an_append_after_the_claim_was_given_back_writes_nothing,
                a_run_that_is_over_takes_nothing_more,
                a_run_without_a_plan_is_over_when_it_is_opened,
                writes_of_a_skill_come_with_its_outcome,
                many_at_once_are_all_written;
            claim:
                an_opened_run_is_due_unless_somebody_has_it,
                a_run_that_waits_for_its_time_is_not_due_before,
                the_longest_due_are_taken_first_up_to_the_limit,
                a_run_is_taken_by_one_worker_only,
                a_run_that_waits_for_somebody_is_taken_by_name_only,
                what_cannot_be_taken_is_not_there,
                claims_of_a_process_that_ended_are_given_back,
                many_workers_share_the_runs_between_them,
                a_higher_priority_goes_first_in_its_tenant,
                tenants_take_turns,
                one_claim_shares_as_many_claims_would,
                no_limit_on_running_runs_is_passed,
                a_limit_is_about_a_tenant_or_agent_that_exists,
                who_asks_for_one_run_is_not_held_back_by_a_limit,
                a_damaged_run_takes_no_other_with_it,
                a_run_of_a_newer_version_is_left_alone,
                a_claim_is_given_back_by_who_holds_it_only,
                a_request_is_answered_once;
            read:
                a_loaded_run_is_the_run_that_was_driven,
                rows_say_what_the_events_say,
                runs_are_listed_newest_first,
                agents_are_listed_by_tenant_and_id,
                what_is_not_there_is_read_as_nothing,
                everything_is_still_there_after_a_restart;
            tenant:
                tenants_and_agents_are_created_once,
                no_tenant_sees_anything_of_another,
                an_erased_value_is_gone_and_the_run_is_still_proved,
                one_part_of_a_value_is_erased_and_the_others_stay,
                what_cannot_be_erased_is_refused_and_nothing_is_written;
            retention:
                an_archived_run_is_read_from_its_archive,
                a_purged_run_leaves_its_tombstone,
                nothing_of_a_held_run_is_removed,
                steps_out_of_order_write_nothing,
                an_archive_never_holds_a_value_that_was_erased,
                runs_are_offered_by_the_time_of_their_end;
            kv:
                what_is_written_is_read,
                a_guard_is_about_what_is_stored,
                a_stale_append_writes_nothing_at_all,
                writes_of_one_append_follow_each_other,
                a_version_is_never_used_twice,
                a_version_names_the_transition_that_wrote_it,
                no_tenant_reads_or_writes_keys_of_another,
                an_expired_key_is_stored_until_somebody_writes,
                the_longest_expired_go_first_up_to_the_limit,
                of_many_that_write_under_one_version_one_does;
            ledger:
                the_checkpoint_covers_the_seal,
                every_leaf_is_proved_against_every_head,
                every_head_leads_to_every_later_head,
                a_missing_leaf_is_an_error_and_not_a_guess;
        }
    };
}

held_to_it!(memory, crate::support::InMemory::begin());
held_to_it!(sqlite, crate::support::OnDisk::begin());
held_to_it!(postgres, crate::on_postgres::OnPostgres::direct());
held_to_it!(pooled, crate::on_postgres::OnPostgres::pooled());
