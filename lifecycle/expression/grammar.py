"""The grammar of expr-lang, for lark. Operators come as a flat chain: their precedences are a table in
:mod:`~lifecycle.expression.parse`, as in the original, because a pipe takes all that stands before it and lets any
operator follow.
"""

GRAMMAR = r"""
start: expr

?expr: "let" NAME "=" expr ";" expr          -> let
     | "if" expr "{" expr "}" "else" branch  -> conditional
     | chain "?" expr ":" expr               -> conditional
     | chain "?" ":" expr                    -> otherwise
     | chain

?branch: "{" expr "}"
       | "if" expr "{" expr "}" "else" branch -> conditional

chain: operand (infix operand | pipe)*
pipe: "|" NAME "(" [arguments] ")"
operand: (NOT | BANG | SIGN)* primary
infix: OPERATOR | SIGN | AND | OR | _word | NOT _word
_word: IN | CONTAINS | STARTS_WITH | ENDS_WITH | MATCHES

?primary: atom
        | primary "." NAME                   -> member
        | primary "?." NAME                  -> optional_member
        | primary "[" expr "]"               -> index
        | primary "?." "[" expr "]"          -> optional_index
        | primary "[" [expr] ":" [expr] "]"  -> slice
        | primary "." NAME "(" [arguments] ")" -> method

?atom: NUMBER                                -> number
     | STRING                                -> string
     | RAW                                   -> raw
     | "true"                                -> true
     | "false"                               -> false
     | "nil"                                 -> nil
     | NAME                                  -> name
     | NAME "(" [arguments] ")"              -> call
     | POINTER                               -> pointer
     | "." NAME                              -> field
     | "[" [items] "]"                       -> array
     | "{" [pairs] "}"                       -> map
     | "(" expr ")"

arguments: argument ("," argument)* ","?
?argument: expr
         | "{" expr "}"
items: expr ("," expr)* ","?
pairs: pair ("," pair)* ","?
pair: key ":" expr
?key: NAME | STRING | RAW | NUMBER
    | "(" expr ")"                           -> computed

// Words are literals of their own, so that lark takes "index" for a name.
NOT: "not"
AND: "and"
OR: "or"
IN: "in"
CONTAINS: "contains"
STARTS_WITH: "startsWith"
ENDS_WITH: "endsWith"
MATCHES: "matches"
BANG: "!"
SIGN: "+" | "-"
OPERATOR: "||" | "&&" | "==" | "!=" | "<=" | ">=" | "<" | ">" | ".." | "**" | "*" | "/" | "%" | "^" | "??"
POINTER: /#(acc|index)?\b|#/
NAME: /[A-Za-z_$][A-Za-z0-9_$]*/
NUMBER: /0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(\d[\d_]*)?\.\d[\d_]*([eE][+-]?\d+)?|\d[\d_]*([eE][+-]?\d+)?/
STRING: /"(\\.|[^"\\\n])*"|'(\\.|[^'\\\n])*'/
RAW: /`[^`]*`/

%ignore /[ \t\r\n]+/
%ignore /\/\/[^\n]*/
%ignore /\/\*[\s\S]*?\*\//
"""
