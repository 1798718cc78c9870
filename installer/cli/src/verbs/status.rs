//! `qiji status BUNDLE`: how the site's hosts and its cluster are. `--probe` asks the cluster's network, too.

use std::collections::BTreeMap;

use qiji_blueprint::site::Role;
use qiji_engine::Connector;
use qiji_plan::Answer as HostAnswer;
use serde::Serialize;

use crate::answer::answer;
use crate::artifacts::runtime;
use crate::cluster::{Answer, Cluster, NodeStatus};
use crate::failure::{Failure, Kind};
use crate::site::{OnSite, SiteArgs};

/// Arguments of `qiji status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    site: SiteArgs,
    /// Start a pod on each node and ask, from each worker, a name, a pod elsewhere and a Service
    #[arg(long)]
    probe: bool,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// How the site is.
#[derive(Debug, Default, Serialize)]
struct Status {
    ok: bool,
    /// Host → `reached`, or why not.
    hosts: BTreeMap<String, String>,
    nodes: Vec<NodeStatus>,
    /// Pods in trouble.
    troubled: Vec<String>,
    probe: Vec<Answer>,
    /// Why the cluster could not be asked.
    cluster_error: Option<String>,
}

/// Shows the status.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let on_site = args.site.open()?;
    let runtime = runtime()?;
    let status = runtime.block_on(status(&on_site, args.probe));
    runtime.block_on(on_site.fleet.close());
    if args.json {
        answer(format!("{:#}", serde_json::json!(status)))?;
    } else {
        show(&on_site, &status);
    }
    if status.ok { Ok(()) } else { Err(Failure::said(Kind::Failed)) }
}

async fn status(on_site: &OnSite, probe: bool) -> Status {
    let answers = on_site.look().await;
    let mut status = Status { hosts: answers.iter().map(host_line).collect(), ..Status::default() };
    if let Err(error) = ask_cluster(on_site, probe, &mut status).await {
        status.cluster_error = Some(error);
    }
    let all_ready = on_site
        .site
        .nodes
        .iter()
        .all(|node| status.nodes.iter().any(|found| found.name == node.name && found.ready));
    let answered = status.probe.iter().all(|answer| answer.ok) && (!probe || !status.probe.is_empty());
    status.ok = status.cluster_error.is_none() && all_ready && answered && status.troubled.is_empty();
    status
}

fn host_line((host, answer): (&String, &HostAnswer)) -> (String, String) {
    let line = match &answer.facts {
        Ok(_) => "reached".to_owned(),
        Err(why) => why.clone(),
    };
    (host.clone(), line)
}

async fn ask_cluster(on_site: &OnSite, probe: bool, status: &mut Status) -> Result<(), String> {
    let Some(first) = on_site.site.control_plane().next() else {
        return Err("the site has no control plane".to_owned());
    };
    let link = on_site.connector.connect(&first.name).await.map_err(|error| error.to_string())?;
    let cluster = Cluster::new(link.as_ref(), &first.name);
    let asked = async {
        status.nodes = cluster.nodes().await?;
        if probe {
            let workers: Vec<String> = on_site.site.workers().map(|node| node.name.clone()).collect();
            status.probe =
                cluster.probe(&probe_image(on_site), &on_site.site.network.domain, &workers).await?;
        }
        status.troubled = cluster.troubled_pods().await?;
        Ok::<_, qiji_engine::LinkError>(())
    };
    let outcome = asked.await.map_err(|error| error.to_string());
    link.close().await;
    outcome
}

/// The bundle's own image for probes.
fn probe_image(on_site: &OnSite) -> String {
    let offers = on_site.inventory().offers;
    let image = offers.values().find_map(|offer| offer.image("probe").map(|image| image.name.clone()));
    image.unwrap_or_else(|| "qiji.local/probe".to_owned())
}

fn show(on_site: &OnSite, status: &Status) {
    for node in &on_site.site.nodes {
        let host = status.hosts.get(&node.name).map_or("not asked", String::as_str);
        let found = status.nodes.iter().find(|found| found.name == node.name);
        let state = match found {
            Some(found) if found.ready => format!("Ready {}", found.version),
            Some(found) => format!("NotReady: {}", found.message),
            None => "not in the cluster".to_owned(),
        };
        let pressures = found.map_or(&[][..], |found| &found.pressures).join(", ");
        let state =
            if pressures.is_empty() { state } else { format!("{state}, {pressures}: it starts no pods") };
        let role = if node.role == Role::ControlPlane { "control plane" } else { "worker" };
        println!("{:<16} {:<16} {role:<14} {host:<10} {state}", node.name, node.address.to_string());
    }
    for pod in &status.troubled {
        println!("pod {pod}");
    }
    for answer in &status.probe {
        let word = if answer.ok { "answers" } else { "DOES NOT ANSWER" };
        println!("from {}: {} {word} ({})", answer.from, answer.question, answer.said);
    }
    if let Some(error) = &status.cluster_error {
        println!("the cluster could not be asked: {error}");
    }
}
