//! Random plans with the scripts of their worlds. Everything is drawn as small numbers and fitted together afterwards,
//! so that a plan that fails can be made smaller step by step.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use runproof_engine::skill::EffectClass;
use serde_json::{Value, json};

use super::plan::{Condition, OnError, OnUnknown, Plan, Source, Step};
use super::world::{Answer, Says, Script};

/// How much of the language plans use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Steps that run one after another.
    Line,
    /// Everything.
    Graph,
}

const MOST_ELEMENTS: usize = 5;

/// What a step is made of, before it is known which steps it can name.
#[derive(Clone, Debug)]
struct Gene {
    /// Place in the document.
    place: u8,
    /// Steps that it needs, as bits over those before it; absent: the one before it.
    needs: Option<u8>,
    when: Option<ConditionGene>,
    foreach: Option<(SourceGene, Option<usize>)>,
    effect: usize,
    with: Vec<SourceGene>,
    max_attempts: u32,
    delay_ms: u64,
    /// 0: abort, 1: continue, 2: fallback.
    on_error: u8,
    fallback: Vec<SourceGene>,
    on_unknown: u8,
    has_key: bool,
    answers: Vec<Vec<AnswerGene>>,
    fallback_answers: Vec<Vec<AnswerGene>>,
}

type SourceGene = (u8, u8, i64);
type AnswerGene = (u8, u8, u64, u64);

#[derive(Clone, Debug)]
enum ConditionGene {
    Leaf(u8, u8, i64),
    Not(Box<ConditionGene>),
    And(Box<ConditionGene>, Box<ConditionGene>),
    Or(Box<ConditionGene>, Box<ConditionGene>),
}

fn source() -> impl Strategy<Value = SourceGene> {
    (0u8..12, any::<u8>(), 0i64..6)
}

fn condition() -> impl Strategy<Value = ConditionGene> {
    let leaf = (0u8..12, any::<u8>(), 0i64..6).prop_map(|(kind, of, than)| ConditionGene::Leaf(kind, of, than));
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| ConditionGene::Not(Box::new(inner))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| ConditionGene::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| ConditionGene::Or(Box::new(a), Box::new(b))),
        ]
    })
}

/// Answers of up to three calls of a step; further ones have those of the first ones again.
fn answers() -> impl Strategy<Value = Vec<Vec<AnswerGene>>> {
    vec(vec((0u8..16, any::<u8>(), 0u64..4, 0u64..4), 1..4), 1..4)
}

fn gene() -> impl Strategy<Value = Gene> {
    let flow = (any::<u8>(), option::of(any::<u8>()), option::weighted(0.4, condition()));
    let call = (
        option::weighted(0.35, (source(), option::of(1usize..4))),
        0usize..6,
        vec(source(), 0..3),
        1u32..4,
        prop::sample::select(vec![0, 100, 5_000]),
    );
    let trouble = (0u8..3, vec(source(), 0..2), 0u8..8, any::<bool>());
    (flow, call, trouble, answers(), answers()).prop_map(|(flow, call, trouble, answers, fallback_answers)| Gene {
        place: flow.0,
        needs: flow.1,
        when: flow.2,
        foreach: call.0,
        effect: call.1,
        with: call.2,
        max_attempts: call.3,
        delay_ms: call.4,
        on_error: trouble.0,
        fallback: trouble.1,
        on_unknown: trouble.2,
        has_key: trouble.3,
        answers,
        fallback_answers,
    })
}

/// Plans of one to eight steps, with their scripts.
pub(crate) fn story(shape: Shape) -> impl Strategy<Value = (Plan, Script)> {
    let inputs = (0i64..6, vec(0i64..6, 0..=MOST_ELEMENTS));
    (vec(gene(), 1..=8), option::of(1usize..5), inputs).prop_map(move |(genes, max_parallel, (n, list))| match shape {
        Shape::Line => Fitting::line(genes).fit(None, BTreeMap::new()),
        Shape::Graph => {
            Fitting::graph(genes).fit(max_parallel, BTreeMap::from([("n", json!(n)), ("list", json!(list))]))
        }
    })
}

/// Steps in the order of the document, with what each needs.
struct Fitting {
    genes: Vec<Gene>,
    needs: Vec<Option<Vec<usize>>>,
    /// Steps that must be done first, and those that these need.
    before: Vec<Vec<usize>>,
}

impl Fitting {
    fn line(genes: Vec<Gene>) -> Self {
        let plain = |gene: Gene| Gene { when: None, foreach: None, has_key: false, ..gene };
        let count = genes.len();
        Self {
            genes: genes.into_iter().map(plain).collect(),
            needs: vec![None; count],
            before: (0..count).map(|place| (0..place).collect()).collect(),
        }
    }

    /// The bits of a step name steps that were drawn before it, so there is no cycle; then all are put in another order.
    fn graph(genes: Vec<Gene>) -> Self {
        let count = genes.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|drawn| genes[*drawn].place / 64);
        let place_of = |drawn: usize| order.iter().position(|other| *other == drawn).expect("every step has a place");
        let mut needs = vec![None; count];
        let mut before = vec![Vec::new(); count];
        for (drawn, gene) in genes.iter().enumerate() {
            let mask = gene.needs.unwrap_or(if drawn == 0 { 0 } else { 1 << (drawn - 1) });
            let mut direct: Vec<usize> = (0..drawn).filter(|other| mask & (1 << other) != 0).map(place_of).collect();
            direct.sort_unstable();
            let place = place_of(drawn);
            let mut all: Vec<usize> =
                direct.iter().flat_map(|other| before[*other].iter().copied().chain([*other])).collect();
            all.sort_unstable();
            all.dedup();
            before[place] = all;
            let usual: Vec<usize> = place.checked_sub(1).into_iter().collect();
            needs[place] = (gene.needs.is_some() || direct != usual).then_some(direct);
        }
        Self { genes: order.into_iter().map(|drawn| genes[drawn].clone()).collect(), needs, before }
    }

    fn fit(self, max_parallel: Option<usize>, inputs: BTreeMap<&'static str, Value>) -> (Plan, Script) {
        let steps: Vec<Step> = (0..self.genes.len()).map(|place| self.step(place, inputs.is_empty())).collect();
        let mut script = Script::new();
        for (step, gene) in steps.iter().zip(&self.genes) {
            let mut say = |item: Option<String>, answers: &[AnswerGene]| {
                let answers = answers.iter().map(|gene| answer(*gene, step)).collect();
                script.insert((step.id.clone(), item), answers);
            };
            say(None, &gene.answers[0]);
            say(Some("fallback".to_owned()), &gene.fallback_answers[0]);
            for element in 0..MOST_ELEMENTS {
                say(Some(element.to_string()), &gene.answers[element % gene.answers.len()]);
                let fallback = &gene.fallback_answers[element % gene.fallback_answers.len()];
                say(Some(format!("{element}.fallback")), fallback);
            }
        }
        (Plan { max_parallel, inputs, steps }, script)
    }

    fn step(&self, place: usize, plain: bool) -> Step {
        let gene = &self.genes[place];
        let item = gene.foreach.is_some();
        let sources = |genes: &[SourceGene]| genes.iter().map(|gene| self.source(place, *gene, item, plain)).collect();
        Step {
            id: char::from(b'a' + u8::try_from(place).unwrap()).to_string(),
            needs: self.needs[place].clone(),
            when: gene.when.as_ref().map(|gene| self.condition(place, gene)),
            foreach: gene.foreach.map(|(items, most)| (self.items(place, items), most)),
            effect: EffectClass::ALL[gene.effect],
            with: sources(&gene.with),
            max_attempts: gene.max_attempts,
            delay_ms: gene.delay_ms,
            on_error: match gene.on_error {
                0 => OnError::Abort,
                1 => OnError::Continue,
                _ => OnError::Fallback(sources(&gene.fallback)),
            },
            on_unknown: match gene.on_unknown {
                5 => OnUnknown::Retry,
                6 => OnUnknown::AssumeDone,
                7 => OnUnknown::Fail,
                _ => OnUnknown::Hold,
            },
            has_key: gene.has_key,
        }
    }

    /// A step that must be done before this one.
    fn ancestor(&self, place: usize, of: u8) -> Option<usize> {
        let before = &self.before[place];
        (!before.is_empty()).then(|| before[usize::from(of) % before.len()])
    }

    fn source(&self, place: usize, (kind, of, than): SourceGene, item: bool, plain: bool) -> Source {
        let literal = Source::Literal(json!(than));
        let Some(ancestor) = self.ancestor(place, of) else {
            return match kind {
                0..4 if item => Source::Item,
                4 if item => Source::ItemIndex,
                0..8 if !plain => Source::Input("n"),
                _ => literal,
            };
        };
        match kind {
            0 => literal,
            1 | 2 => Source::Output(ancestor),
            3 if self.genes[ancestor].has_key => Source::Key(ancestor),
            3 | 4 => Source::Member(ancestor),
            5 => Source::List(ancestor),
            6 | 7 if item => Source::Item,
            8 if item => Source::ItemIndex,
            _ if plain => literal,
            9 => Source::Input("list"),
            10 => Source::InputPlus("n", than),
            11 => Source::Text(ancestor),
            _ => Source::Status(ancestor),
        }
    }

    fn items(&self, place: usize, (kind, of, count): SourceGene) -> Source {
        let literal: Vec<Value> = (0..count).map(|n| json!({"n": n})).collect();
        match (kind, self.ancestor(place, of)) {
            (0..3, _) | (6.., None) => Source::Literal(json!(literal)),
            (3..6, _) => Source::Input("list"),
            (6..9, Some(ancestor)) => Source::List(ancestor),
            (_, Some(ancestor)) => Source::Output(ancestor),
        }
    }

    fn condition(&self, place: usize, gene: &ConditionGene) -> Condition {
        let boxed = |gene: &ConditionGene| Box::new(self.condition(place, gene));
        match gene {
            ConditionGene::Not(inner) => Condition::Not(boxed(inner)),
            ConditionGene::And(one, other) => Condition::And(boxed(one), boxed(other)),
            ConditionGene::Or(one, other) => Condition::Or(boxed(one), boxed(other)),
            ConditionGene::Leaf(kind, of, than) => match (kind, self.ancestor(place, *of)) {
                (0, _) => Condition::Always(true),
                (1, _) => Condition::Always(false),
                (11, _) => Condition::NoBoolean,
                (2 | 3, _) | (_, None) => Condition::InputOver(*than),
                (4, Some(ancestor)) => Condition::StatusIs(ancestor, "success"),
                (5, Some(ancestor)) => Condition::StatusIs(ancestor, "failure"),
                (6, Some(ancestor)) => Condition::StatusIs(ancestor, "skipped"),
                (7, Some(ancestor)) => Condition::HasMember(ancestor),
                (8, Some(ancestor)) => Condition::MemberOver(ancestor, *than),
                (_, Some(ancestor)) => Condition::HasOutput(ancestor),
            },
        }
    }
}

fn answer((kind, of, before_ms, after_ms): AnswerGene, step: &Step) -> Answer {
    let says = match (kind, step.effect) {
        (10, _) => Says::Failed { retryable: true },
        (11, _) => Says::Failed { retryable: false },
        (12, _) => Says::NotDone { retryable: true },
        (13, _) => Says::NotDone { retryable: false },
        (14 | 15, EffectClass::Read | EffectClass::Idempotent | EffectClass::Unsafe) => {
            Says::Nothing { happened: kind == 15 }
        }
        _ => Says::Done(output(of, &step.id)),
    };
    // A pure call answers at once: it has nothing to wait for.
    let (before_ms, after_ms) = if step.effect == EffectClass::Pure { (0, 0) } else { (before_ms, after_ms) };
    Answer { before_ms, after_ms, says }
}

fn output(of: u8, step_id: &str) -> Value {
    let (n, count) = (i64::from(of % 6), usize::from(of / 6) % (MOST_ELEMENTS + 1));
    match of % 4 {
        0 => json!(n),
        1 => Value::Array((0..count).map(|n| json!(n)).collect()),
        _ => json!({"n": n, "of": step_id, "list": (0..count).map(|n| json!({"n": n})).collect::<Vec<_>>()}),
    }
}
