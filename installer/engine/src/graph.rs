//! A plan's steps as a graph with numbers for names, checked once before anything runs: names are unique, needs are there and stand before,
//! and values come from steps that read them. All faults are told at once.

use std::collections::HashMap;

use qiji_plan::{Action, Content, Plan, Step, StepId};

/// A plan that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// Two steps have one name.
    #[error("two steps are named {step}")]
    Twice {
        /// The name.
        step: String,
    },
    /// A step names one that is not in the plan.
    #[error("{step} names {other}, which is not in the plan")]
    Unknown {
        /// The step.
        step: String,
        /// What it names.
        other: String,
    },
    /// A step stands before one that it needs.
    #[error("{step} stands before {other}, which it needs")]
    Order {
        /// The step.
        step: String,
        /// What it needs.
        other: String,
    },
    /// A value comes from a step that gives none.
    #[error("{step} takes a value from {other}, which is not a step that reads one")]
    Input {
        /// The step.
        step: String,
        /// Where it takes the value from.
        other: String,
    },
}

/// The graph. Steps are named by their place in the plan.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) steps: Vec<Step>,
    pub(crate) hosts: Vec<String>,
    /// Host of each step.
    pub(crate) host: Vec<usize>,
    /// Steps of each host, in the plan's order.
    pub(crate) of_host: Vec<Vec<usize>>,
    /// What each step needs, the steps that give it values among them.
    pub(crate) needs: Vec<Vec<usize>>,
    pub(crate) needed_by: Vec<Vec<usize>>,
    /// Steps of which one must be pending for this one to run.
    pub(crate) only_if: Vec<Vec<usize>>,
    /// Placeholder and the step that reads its value.
    pub(crate) inputs: Vec<Vec<(String, usize)>>,
}

impl Graph {
    pub(crate) fn new(plan: Plan) -> Result<Self, Vec<PlanFault>> {
        let mut faults = Vec::new();
        let mut index = HashMap::with_capacity(plan.steps.len());
        for (at, step) in plan.steps.iter().enumerate() {
            if index.insert(step.id.clone(), at).is_some() {
                faults.push(PlanFault::Twice { step: step.id.to_string() });
            }
        }
        let (hosts, host, of_host) = hosts(&plan.steps);
        let count = plan.steps.len();
        let mut graph = Self {
            steps: Vec::new(),
            hosts,
            host,
            of_host,
            needs: Vec::with_capacity(count),
            needed_by: vec![Vec::new(); count],
            only_if: Vec::with_capacity(count),
            inputs: Vec::with_capacity(count),
        };
        for (at, step) in plan.steps.iter().enumerate() {
            graph.add(at, step, &plan.steps, &index, &mut faults);
        }
        graph.steps = plan.steps;
        if faults.is_empty() { Ok(graph) } else { Err(faults) }
    }

    fn add(
        &mut self,
        at: usize,
        step: &Step,
        steps: &[Step],
        index: &HashMap<StepId, usize>,
        faults: &mut Vec<PlanFault>,
    ) {
        let mut find = |other: &StepId| {
            let found = index.get(other).copied();
            if found.is_none() {
                faults.push(PlanFault::Unknown { step: step.id.to_string(), other: other.to_string() });
            }
            found
        };
        let mut needs: Vec<usize> = step.needs.iter().filter_map(&mut find).collect();
        self.only_if.push(step.only_if_pending.iter().filter_map(&mut find).collect());
        let contents = content(&step.action).map(|content| &content.inputs);
        let inputs: Vec<(String, usize)> = contents
            .into_iter()
            .flatten()
            .filter_map(|(name, from)| Some((name.clone(), find(from)?)))
            .collect();
        for &(_, from) in &inputs {
            if !matches!(steps[from].action, Action::Read { .. }) {
                faults
                    .push(PlanFault::Input { step: step.id.to_string(), other: steps[from].id.to_string() });
            }
            needs.push(from);
        }
        needs.sort_unstable();
        needs.dedup();
        for &need in &needs {
            if need >= at {
                faults
                    .push(PlanFault::Order { step: step.id.to_string(), other: steps[need].id.to_string() });
            }
            self.needed_by[need].push(at);
        }
        self.needs.push(needs);
        self.inputs.push(inputs);
    }

    pub(crate) fn id(&self, at: usize) -> &str {
        &self.steps[at].id.0
    }

    pub(crate) fn is_read(&self, at: usize) -> bool {
        matches!(self.steps[at].action, Action::Read { .. })
    }

    pub(crate) fn is_receive(&self, at: usize) -> bool {
        matches!(self.steps[at].action, Action::Receive { .. })
    }

    pub(crate) fn is_wait(&self, at: usize) -> bool {
        matches!(self.steps[at].action, Action::Wait)
    }
}

fn content(action: &Action) -> Option<&Content> {
    match action {
        Action::File { content, .. } => Some(content),
        Action::Run { stdin, .. } => stdin.as_ref(),
        _ => None,
    }
}

fn hosts(steps: &[Step]) -> (Vec<String>, Vec<usize>, Vec<Vec<usize>>) {
    let mut names = Vec::new();
    let mut of_host: Vec<Vec<usize>> = Vec::new();
    let mut index: HashMap<&str, usize> = HashMap::new();
    let mut host = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let number = *index.entry(&step.host).or_insert_with(|| {
            names.push(step.host.clone());
            of_host.push(Vec::new());
            names.len() - 1
        });
        host.push(number);
        of_host[number].push(at);
    }
    (names, host, of_host)
}
