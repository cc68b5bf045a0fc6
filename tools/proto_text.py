"""Writes the text of a proto2 file from its descriptor, for the one import of which no package ships the text.

Knows what `buf/validate/validate.proto` uses and refuses the rest, so that nothing is lost silently: compiling the
text gives the same descriptor (`tests/contract/test_bundle.py`).
"""

from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pb2, text_format

Field = descriptor_pb2.FieldDescriptorProto
_LABELS = {
    Field.LABEL_OPTIONAL: "optional ",
    Field.LABEL_REPEATED: "repeated ",
    Field.LABEL_REQUIRED: "required ",
}
_MAX_TAG = 536870911


def proto_text(file: descriptor_pb2.FileDescriptorProto, header: str) -> str:
    if file.syntax not in ("", "proto2") or file.service or file.edition:
        raise ValueError(f"{file.name} is not a proto2 file of messages")
    return "\n".join([*(f"// {line}".rstrip() for line in header.splitlines()), "", *_file(file), ""])


def _file(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    yield 'syntax = "proto2";'
    yield f"\npackage {file.package};\n"
    for name in file.dependency:
        yield f'import "{name}";'
    yield ""
    for field, value in file.options.ListFields():
        shown = str(value).lower() if isinstance(value, bool) else _quoted([value])
        yield f"option {field.name} = {shown};"
    for extension in file.extension:
        yield f"\nextend {extension.extendee} {{"
        yield from _field(extension, file.package, "  ", label=True)
        yield "}"
    for message in file.message_type:
        yield ""
        yield from _message(message, f"{file.package}.{message.name}", "")
    for enum in file.enum_type:
        yield ""
        yield from _enum(enum, "")


def _message(message: descriptor_pb2.DescriptorProto, scope: str, indent: str) -> Iterator[str]:
    if message.nested_type or message.extension or message.options.ByteSize():
        raise ValueError(f"{scope}: nested messages, extensions and options are not supported")
    inner = indent + "  "
    yield f"{indent}message {message.name} {{"
    for kept in message.reserved_range:
        yield f"{inner}reserved {kept.start}{f' to {kept.end - 1}' if kept.end - 1 > kept.start else ''};"
    if message.reserved_name:
        yield f"{inner}reserved {_quoted(message.reserved_name)};"
    for enum in message.enum_type:
        yield from _enum(enum, inner)
    open_oneof = None
    for field in message.field:
        oneof = field.oneof_index if field.HasField("oneof_index") else None
        if oneof != open_oneof:
            if open_oneof is not None:
                yield f"{inner}}}"
            if oneof is not None:
                yield f"{inner}oneof {message.oneof_decl[oneof].name} {{"
            open_oneof = oneof
        yield from _field(field, scope, inner + ("  " if oneof is not None else ""), label=oneof is None)
    if open_oneof is not None:
        yield f"{inner}}}"
    for extensible in message.extension_range:
        end = "max" if extensible.end > _MAX_TAG else extensible.end - 1
        yield f"{inner}extensions {extensible.start} to {end};"
    yield f"{indent}}}"


def _field(field: Field, scope: str, indent: str, label: bool) -> Iterator[str]:
    if field.HasField("default_value") or field.type == Field.TYPE_GROUP:
        raise ValueError(f"{scope}.{field.name}: defaults and groups are not supported")
    kind = field.type_name or Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    line = f"{indent}{_LABELS[field.label] if label else ''}{kind} {field.name} = {field.number}"
    options = ",\n".join(_options(field.options, indent + "  "))
    yield f"{line} [\n{options}\n{indent}];" if options else f"{line};"


def _enum(enum: descriptor_pb2.EnumDescriptorProto, indent: str) -> Iterator[str]:
    yield f"{indent}enum {enum.name} {{"
    if enum.options.allow_alias:
        yield f"{indent}  option allow_alias = true;"
    for kept in enum.reserved_range:
        yield f"{indent}  reserved {kept.start}{f' to {kept.end}' if kept.end > kept.start else ''};"
    if enum.reserved_name:
        yield f"{indent}  reserved {_quoted(enum.reserved_name)};"
    for value in enum.value:
        yield f"{indent}  {value.name} = {value.number};"
    yield f"{indent}}}"


def _options(options: descriptor_pb2.FieldOptions, indent: str) -> Iterator[str]:
    """An extension's message in aggregate syntax; its strings are escaped as text format does."""
    for option, value in options.ListFields():
        name = f"({option.full_name})" if option.is_extension else option.name
        if option.message_type is None:
            yield f"{indent}{name} = {str(value).lower()}"
        elif option.is_repeated:
            raise ValueError(f"{name}: repeated options are not supported")
        else:
            body = text_format.MessageToString(value, indent=len(indent) + 2, as_utf8=True)
            yield f"{indent}{name} = {{\n{body}{indent}}}"


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join('"' + text.replace("\\", "\\\\") + '"' for text in texts)
