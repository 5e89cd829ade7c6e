//! Reads an expression: checks its form before the parser sees it, then what may stand in it, and puts a variable in the
//! place of each value that it names.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::{IdedExpr, ParseErrors};

use super::{Expression, ExpressionError, MAX_DEPTH, MAX_EXPRESSION, MAX_NESTING, budget, variable};
use crate::redact::shown;
use crate::reference::{Reference, Root, Segment, is_step_id};

/// Functions: name, whether it is called as `f(x)`, number of arguments when called as `x.f(…)`, and how to write it.
/// The macros are here for their last column: the parser leaves a call that is not one of theirs as it is.
const FUNCTIONS: [(&str, bool, Option<usize>, &str); 14] = [
    ("size", true, Some(0), "`size(x)` or `x.size()`"),
    ("contains", false, Some(1), "`text.contains(part)`"),
    ("startsWith", false, Some(1), "`text.startsWith(part)`"),
    ("endsWith", false, Some(1), "`text.endsWith(part)`"),
    ("string", true, None, "`string(x)`"),
    ("int", true, None, "`int(x)`"),
    ("double", true, None, "`double(x)`"),
    ("has", false, None, "`has(x.member)`"),
    ("all", false, None, "`list.all(x, test)`"),
    ("exists", false, None, "`list.exists(x, test)`"),
    ("exists_one", false, None, "`list.exists_one(x, test)`"),
    ("existsOne", false, None, "`list.exists_one(x, test)`"),
    ("map", false, None, "`list.map(x, value)` or `list.map(x, test, value)`"),
    ("filter", false, None, "`list.filter(x, test)`"),
];

/// What a value can begin with.
const ROOTS: [&str; 7] = ["steps", "outputs", "inputs", "item", "item_index", "goal", "run"];

/// How deep the parser goes before it gives up: deeper than any expression that is accepted.
const MAX_PARSED: u16 = (MAX_NESTING + MAX_DEPTH) as u16;

pub(super) fn read(text: &str) -> Result<Expression, ExpressionError> {
    check_form(text)?;
    let parser = cel::parser::Parser::new().max_recursion_depth(MAX_PARSED);
    let tree = parser.parse(text).map_err(|errors| syntax(&errors))?;
    let mut reader = Reader::default();
    let tree = reader.node(tree, 1)?;
    Ok(Expression { text: text.to_owned(), references: reader.references, presences: reader.presences, tree })
}

/// What has to hold before a recursive parser may see the text. It does not matter whether this agrees with the parser
/// about where a string ends: the parser has a limit of its own, and this one keeps good input far below it.
fn check_form(text: &str) -> Result<(), ExpressionError> {
    if text.is_empty() {
        return Err(ExpressionError::Empty);
    }
    let characters = text.chars().count();
    if characters > MAX_EXPRESSION {
        return Err(ExpressionError::TooLong { characters });
    }
    if text.starts_with("{{") {
        return Err(ExpressionError::Braces);
    }
    let mut open: usize = 0;
    let mut quote = None;
    let mut escaped = false;
    for character in text.chars() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(end), _) if end == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[' | '{') => open += 1,
            (None, ')' | ']' | '}') => open = open.saturating_sub(1),
            (None, _) => {}
        }
        if open > MAX_NESTING {
            return Err(ExpressionError::TooDeep);
        }
    }
    Ok(())
}

/// The first thing that the parser says, without the list of all tokens that it would have liked.
fn syntax(errors: &ParseErrors) -> ExpressionError {
    let Some(first) = errors.errors.first() else {
        return ExpressionError::Syntax { line: 1, column: 1, problem: "it cannot be read".to_owned() };
    };
    if first.msg.contains("Recursion limit") {
        return ExpressionError::TooDeep;
    }
    let problem = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let problem = problem.split(" expecting ").next().unwrap_or(problem).replace("'<EOF>'", "end");
    let number = |place: isize| usize::try_from(place).unwrap_or(0).max(1);
    ExpressionError::Syntax {
        line: number(first.pos.0),
        column: number(first.pos.1),
        problem: shown(&problem, 120).into_owned(),
    }
}

#[derive(Default)]
struct Reader {
    references: Vec<Reference>,
    presences: Vec<bool>,
    /// Variables of the macro that is being read, its accumulator included. Empty outside.
    variables: Vec<String>,
    /// How many nodes were read.
    nodes: i64,
}

impl Reader {
    /// Checks a node and what is inside it, and rewrites both.
    fn node(&mut self, node: IdedExpr, depth: usize) -> Result<IdedExpr, ExpressionError> {
        if depth > MAX_DEPTH {
            return Err(ExpressionError::TooDeep);
        }
        self.nodes += 1;
        if let Some((name, path, presence)) = self.chain(&node) {
            let name = self.name(&name, path, presence)?;
            return Ok(IdedExpr { id: node.id, expr: Expr::Ident(name) });
        }
        let expr = match node.expr {
            Expr::Literal(LiteralValue::Bytes(_)) => return Err(ExpressionError::Unsupported { what: "bytes" }),
            Expr::Literal(_) | Expr::Ident(_) => node.expr,
            Expr::Select(select) => Expr::Select(SelectExpr {
                operand: Box::new(self.node(*select.operand, depth + 1)?),
                field: select.field,
                test: select.test,
            }),
            Expr::Call(call) => Expr::Call(self.call(call, depth)?),
            Expr::List(mut list) => {
                list.elements = self.made(list.elements, depth)?;
                Expr::List(list)
            }
            Expr::Map(mut map) => {
                for entry in &mut map.entries {
                    let EntryExpr::MapEntry(member) = &mut entry.expr else {
                        return Err(ExpressionError::Unsupported { what: "messages" });
                    };
                    for half in [&mut member.key, &mut member.value] {
                        *half = budget::make(self.node(std::mem::take(half), depth + 1)?);
                    }
                }
                Expr::Map(map)
            }
            Expr::Comprehension(comprehension) => {
                Expr::Comprehension(Box::new(self.comprehension(*comprehension, depth)?))
            }
            Expr::Struct(_) => return Err(ExpressionError::Unsupported { what: "messages" }),
            Expr::Unspecified => return Err(ExpressionError::Unsupported { what: "empty parts" }),
        };
        Ok(IdedExpr { id: node.id, expr })
    }

    fn call(&mut self, mut call: CallExpr, depth: usize) -> Result<CallExpr, ExpressionError> {
        match call.func_name.as_str() {
            operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::CONDITIONAL
            | operators::NEGATE
            | operators::NOT_STRICTLY_FALSE => call.args = self.all(call.args, depth)?,
            operators::INDEX => {
                call.args = self.all(call.args, depth)?;
                if let Some(index) = call.args.get_mut(1) {
                    *index = budget::read(std::mem::take(index));
                }
            }
            // The accumulator of a macro: counting it at each turn would make the work grow with the square.
            operators::ADD if self.adds_to_accumulator(&call) => call.args = self.all(call.args, depth)?,
            operators::ADD => call.args = self.all(call.args, depth)?.into_iter().map(budget::summand).collect(),
            operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => {
                call.args = self.all(call.args, depth)?.into_iter().map(budget::number).collect();
            }
            operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::IN => call.args = self.seen(call.args, depth)?,
            name => {
                let Some((_, global, method, usage)) = FUNCTIONS.iter().find(|function| function.0 == name) else {
                    return Err(ExpressionError::UnknownFunction { name: shown(name, 64).into_owned() });
                };
                let fits = match call.target {
                    None => *global && call.args.len() == 1,
                    Some(_) => *method == Some(call.args.len()),
                };
                if !fits {
                    return Err(ExpressionError::BadCall { usage });
                }
                call.args = self.seen(call.args, depth)?;
                if let Some(target) = call.target {
                    call.target = Some(Box::new(budget::read(self.node(*target, depth + 1)?)));
                }
            }
        }
        Ok(call)
    }

    /// `map`, `filter`, `all`, `exists` or `exists_one`, as the parser writes them out.
    fn comprehension(
        &mut self,
        mut macro_: ComprehensionExpr,
        depth: usize,
    ) -> Result<ComprehensionExpr, ExpressionError> {
        if !self.variables.is_empty() {
            return Err(ExpressionError::NestedMacro);
        }
        macro_.iter_range = self.node(macro_.iter_range, depth + 1)?;
        if ROOTS.contains(&macro_.iter_var.as_str()) {
            return Err(ExpressionError::Taken { name: macro_.iter_var });
        }
        // The accumulator comes first: see `adds_to_accumulator`.
        let before = self.nodes;
        self.variables.extend([macro_.accu_var.clone(), macro_.iter_var.clone()]);
        for part in [&mut macro_.accu_init, &mut macro_.loop_cond, &mut macro_.loop_step, &mut macro_.result] {
            *part = self.node(std::mem::take(part), depth + 1)?;
        }
        self.variables.clear();
        macro_.iter_range = budget::items(macro_.iter_range, self.nodes - before);
        Ok(macro_)
    }

    fn adds_to_accumulator(&self, call: &CallExpr) -> bool {
        matches!(call.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if self.variables.first() == Some(name))
    }

    fn all(&mut self, nodes: Vec<IdedExpr>, depth: usize) -> Result<Vec<IdedExpr>, ExpressionError> {
        nodes.into_iter().map(|node| self.node(node, depth + 1)).collect()
    }

    /// Values that an operator goes through.
    fn seen(&mut self, nodes: Vec<IdedExpr>, depth: usize) -> Result<Vec<IdedExpr>, ExpressionError> {
        Ok(self.all(nodes, depth)?.into_iter().map(budget::read).collect())
    }

    /// Values that are copied into a new one.
    fn made(&mut self, nodes: Vec<IdedExpr>, depth: usize) -> Result<Vec<IdedExpr>, ExpressionError> {
        Ok(self.all(nodes, depth)?.into_iter().map(budget::make).collect())
    }

    /// The name that a node starts at, the constant way from there, and whether it stands in `has`. `None` if it is no
    /// such chain, or starts at the variable of a macro.
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the crate has is no part of a chain")]
    fn chain(&self, node: &IdedExpr) -> Option<(String, Vec<Segment>, bool)> {
        let presence = matches!(&node.expr, Expr::Select(select) if select.test);
        let mut path = Vec::new();
        let mut rest = &node.expr;
        loop {
            match rest {
                Expr::Ident(name) if !self.variables.contains(name) => {
                    path.reverse();
                    return Some((name.clone(), path, presence));
                }
                Expr::Select(select) if path.is_empty() || !select.test => {
                    path.push(Segment::Name(select.field.clone()));
                    rest = &select.operand.expr;
                }
                Expr::Call(CallExpr { func_name, target: None, args }) if func_name == operators::INDEX => {
                    let [container, index] = args.as_slice() else { return None };
                    path.push(match &index.expr {
                        Expr::Literal(LiteralValue::String(name)) => Segment::Name(name.inner().to_owned()),
                        Expr::Literal(LiteralValue::Int(index)) => Segment::Index(*index.inner()),
                        _ => return None,
                    });
                    rest = &container.expr;
                }
                _ => return None,
            }
        }
    }

    /// Notes the value that a chain names, and gives the variable that stands for it.
    fn name(&mut self, name: &str, path: Vec<Segment>, presence: bool) -> Result<String, ExpressionError> {
        let (root, path) = root(name, path)?;
        let known = self.references.iter().zip(&self.presences).position(|(reference, known_presence)| {
            reference.root == root && reference.path == path && *known_presence == presence
        });
        let index = known.unwrap_or_else(|| {
            self.references.push(Reference::new(root, path));
            self.presences.push(presence);
            self.references.len() - 1
        });
        Ok(variable(index))
    }
}

/// The root that a chain starts from, and the rest of its way.
fn root(name: &str, mut path: Vec<Segment>) -> Result<(Root, Vec<Segment>), ExpressionError> {
    let incomplete = |name, needed| Err(ExpressionError::Incomplete { name, needed });
    let (root, taken) = match (name, path.as_slice()) {
        ("steps", [Segment::Name(id), Segment::Name(part), ..]) if is_step_id(id) && part == "output" => {
            (Root::Step(id.clone()), 2)
        }
        ("steps", [Segment::Name(id), Segment::Name(part), ..]) if is_step_id(id) && part == "status" => {
            (Root::StepStatus(id.clone()), 2)
        }
        ("steps", _) => {
            return incomplete(
                "steps",
                "`steps.ID.output` or `steps.ID.status`; `steps[\"a-b\"]` for an id with a dash",
            );
        }
        ("outputs", [Segment::Name(key), ..]) => (Root::Output(key.clone()), 1),
        ("outputs", _) => return incomplete("outputs", "`outputs.KEY`"),
        ("run", [Segment::Name(part), ..]) if part == "id" => (Root::RunId, 1),
        ("run", [Segment::Name(part), ..]) if part == "tenant" => (Root::Tenant, 1),
        ("run", [Segment::Name(part), ..]) if part == "agent" => (Root::Agent, 1),
        ("run", _) => return incomplete("run", "`run.id`, `run.tenant` or `run.agent`"),
        ("inputs", _) => (Root::Inputs, 0),
        ("item", _) => (Root::Item, 0),
        ("item_index", _) => (Root::ItemIndex, 0),
        ("goal", _) => (Root::Goal, 0),
        _ => return Err(ExpressionError::UnknownName { name: shown(name, 64).into_owned() }),
    };
    let rest = path.split_off(taken);
    if !root.has_members() && !rest.is_empty() {
        return Err(ExpressionError::NoMembers { name: shown(&root.to_string(), 80).into_owned() });
    }
    Ok((root, rest))
}
