//! The whole-system scenarios, one file a story. They run one after another, since each takes the whole machine.

mod access;
mod architectures;
mod brought;
mod charts;
mod install;
mod killed;
mod materials;
mod refused;
mod same_bytes;
mod served;
mod signed;
mod trust;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = vec![
        trial("a_site_is_installed_works_and_is_reset", install::story),
        trial("a_changed_bundle_is_refused_before_any_host_is_touched", refused::changed_bundle),
        trial("keys_that_do_not_fit_are_refused", refused::keys),
        trial("bad_hosts_are_all_named_at_once", refused::bad_hosts),
        trial("an_unknown_and_a_changed_host_key_stop_the_host", refused::host_keys),
        trial("a_site_holds_to_its_policy_and_refuses_an_older_bundle", trust::story),
        trial("every_way_to_log_in_leads_to_a_cluster", access::ways_in),
        trial("a_login_that_is_refused_is_told_and_leaves_no_trace", access::refused),
        trial("a_pinned_host_key_holds_and_another_is_refused", access::pinned),
        trial("a_password_is_asked_for_once_and_in_peace", access::asked),
        trial("a_caller_may_log_in_in_another_way_than_the_site_says", access::overridden),
        trial("containerd_pulls_from_a_served_bundle", served::containerd),
        trial("containerd_gives_an_image_to_a_site", brought::from_containerd),
        trial("skopeo_pulls_from_a_served_bundle", served::skopeo),
        trial("oras_pulls_from_a_served_bundle", served::oras),
        trial("a_chart_brings_its_images_along", charts::story),
        trial("pods_name_an_image_by_its_digests", brought::by_digest),
        trial("an_installation_killed_once_goes_on", killed::once),
        trial("spdx_tools_take_the_documents", materials::spdx_tools_take_them).with_ignored_flag(true),
        trial("an_image_keeps_what_others_signed", signed::story).with_ignored_flag(true),
        trial("every_program_of_every_architecture_starts", architectures::story).with_ignored_flag(true),
        trial("two_builds_that_have_nothing_in_common_are_the_same_bytes", same_bytes::story)
            .with_ignored_flag(true),
        trial("an_installation_killed_at_ten_moments_goes_on", killed::ten_times).with_ignored_flag(true),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, story: fn() -> anyhow::Result<()>) -> Trial {
    Trial::test(name, move || story().map_err(|error| Failed::from(format!("{error:#}"))))
}
