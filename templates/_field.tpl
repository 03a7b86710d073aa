<%
# One field of a form: label, help, error and control. Wants: field.
help_id, error_id = field.id + "-help", field.id + "-error"
described = " ".join([name for name, text in ((help_id, field.help), (error_id, field.error)) if text])
attrs = {name: value for name, value in (field.attrs or {}).items() if value is not None and value is not False}
must = getattr(field, "must", "")
group = field.widget in ("radio", "checkboxes", "grants")
current, held, many = getattr(field, "files", ()), getattr(field, "held", ()), "multiple" in attrs
if field.widget == "email":
    attrs.setdefault("autocomplete", "email")
elif field.widget == "url":
    attrs.setdefault("autocomplete", "url")
elif field.widget == "tel":
    attrs.setdefault("autocomplete", "tel")
elif field.widget == "textarea":
    attrs.setdefault("rows", "5")
end
# A browser's own number control reads marks by its language, and not by the site's.
type_ = "text" if field.widget == "number" else field.widget
if field.required and not group and not (field.widget == "file" and (current or held)):
    attrs["required"] = "required"
end
if field.error and field.widget != "radio":
    attrs["aria-invalid"] = "true"
end
if described and not group:
    attrs["aria-describedby"] = described
end
%>
% if field.widget == "lines":
%   include('_lines.tpl', field=field)
% else:
<div class="field field-{{field.widget}}{{' wrong' if field.error else ''}}"
% if must:
  data-must="{{must}}"
% end
>
% if group:
<fieldset
%   if not field.options:
  id="{{field.id}}" tabindex="-1"
%   end
%   if field.widget == "radio":
  role="radiogroup" aria-required="{{'true' if field.required else 'false'}}" aria-invalid="{{'true' if field.error else 'false'}}"
%   end
%   if described:
  aria-describedby="{{described}}"
%   end
>
  <legend>{{field.title}}
%   if field.required or must:
    <span class="must" aria-hidden="true" title="{{t("field.required")}}"{{"" if field.required else " hidden"}}>*</span>
%   end
  </legend>
%   include('_hints.tpl')
%   if field.lookup:
%     include('_lookup.tpl', field=field)
%   end
%   if field.widget == "grants":
%     include('_grants.tpl', field=field)
%   end
%   for number, option in enumerate([] if field.widget == "grants" else field.options):
%     option_id = field.id if number == 0 else f"{field.id}-{number + 1}"
  <div class="choice">
    <input type="{{'radio' if field.widget == 'radio' else 'checkbox'}}" id="{{option_id}}" name="{{field.name}}" value="{{option.value}}"
%     if option.selected:
      checked
%     end
%     if field.required and field.widget == "radio":
      required
%     end
%     for name, value in attrs.items():
      {{name}}="{{name if value is True else value}}"
%     end
    >
    <label for="{{option_id}}"><bdi>{{option.title}}</bdi></label>
  </div>
%   end
</fieldset>
% elif field.widget == "checkbox":
  <div class="choice">
    <input type="checkbox" id="{{field.id}}" name="{{field.name}}" value="{{field.value or 'true'}}"
%   if field.checked:
      checked
%   end
%   for name, value in attrs.items():
      {{name}}="{{name if value is True else value}}"
%   end
    >
    <label for="{{field.id}}">{{field.title}}
%   if field.required or must:
      <span class="must" aria-hidden="true" title="{{t("field.required")}}"{{"" if field.required else " hidden"}}>*</span>
%   end
    </label>
  </div>
%   include('_hints.tpl')
% else:
  <label for="{{field.id}}">{{field.title}}
%   if field.required or must:
    <span class="must" aria-hidden="true" title="{{t("field.required")}}"{{"" if field.required else " hidden"}}>*</span>
%   end
  </label>
%   include('_hints.tpl')
%   for number, one in enumerate([] if held and not many else current):
  <p class="current">{{!t.html("field.stored" if many else "field.current", file=t.link(one.href, one.name))}}</p>
%     if many or not field.required:
  <div class="choice"><input type="checkbox" id="{{field.id}}-gone-{{number}}" name="_gone" value="{{one.id}}"{{" checked" if one.id in field.gone else ""}}><label for="{{field.id}}-gone-{{number}}">{{!t.html("field.drop_name", file=one.name)}}</label></div>
%     end
%   end
%   for number, one in enumerate(held, 1):
  <input type="hidden" name="_held_{{field.name}}" value="{{one.sealed}}">
  <p class="current">{{!t.html("field.held_too" if many else "field.held", file=one.name)}}</p>
  <div class="choice"><input type="checkbox" id="{{field.id}}-drop{{"" if number == 1 else number}}" name="_drop_{{field.name}}" value="{{number}}"><label for="{{field.id}}-drop{{"" if number == 1 else number}}">{{!t.html("field.drop_name", file=one.name) if many else t("field.drop")}}</label></div>
%   end
%   if field.widget == "textarea":
  <textarea id="{{field.id}}" name="{{field.name}}" dir="auto"
%     for name, value in attrs.items():
    {{name}}="{{name if value is True else value}}"
%     end
  >
{{field.value}}</textarea>
%   elif field.widget == "select":
%     if field.lookup:
%       include('_lookup.tpl', field=field)
%     end
  <select id="{{field.id}}" name="{{field.name}}"
%     for name, value in attrs.items():
    {{name}}="{{name if value is True else value}}"
%     end
  >
%     if not any([option.value == "" for option in field.options]):
    <option value="">{{t("field.choose") if field.required else "—"}}</option>
%     end
%     for option in field.options:
    <option value="{{option.value}}"{{" selected" if option.selected else ""}}>{{option.title}}</option>
%     end
  </select>
%   elif field.widget == "file":
  <input type="file" id="{{field.id}}" name="{{field.name}}"
%     for name, value in attrs.items():
    {{name}}="{{name if value is True else value}}"
%     end
  >
%   else:
  <input type="{{type_}}" id="{{field.id}}" name="{{field.name}}" value="{{field.value}}"
%     if field.widget in ("text", "email", "url", "tel", "number"):
    dir="{{'auto' if field.widget == 'text' else 'ltr'}}"
%     end
%     for name, value in attrs.items():
    {{name}}="{{name if value is True else value}}"
%     end
  >
%   end
% end
</div>
% end
