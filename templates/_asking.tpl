% # What a list can be narrowed by, column by column. Wants: controls, sorts, t.
% for one in controls:
%   wrong = dict(one.faults)
%   if one.kind == "choice":
<details class="field pick"><summary><span class="of">{{one.title}}</span> <span class="chosen">{{t("common.comma").join(one.said) or t("field.any")}}</span></summary>
  <fieldset><legend class="visually-hidden">{{one.title}}</legend>
%     for number, option in enumerate(one.options):
    <div class="choice"><input type="checkbox" id="{{one.id}}-{{number}}" name="{{one.name}}" value="{{option.value}}"{{" checked" if option.selected else ""}}><label for="{{one.id}}-{{number}}"><bdi>{{option.title}}</bdi>\\
%       if option.count:
 <span class="count">{{option.count}}</span>\\
%       end
</label></div>
%     end
  </fieldset></details>
%   elif one.kind == "truth":
<div class="field{{" wrong" if wrong else ""}}"><label for="{{one.id}}">{{one.title}}</label>
%     for text in wrong.values():
  <p class="error" id="{{one.id}}-error">{{text}}</p>
%     end
  <select id="{{one.id}}" name="{{one.name}}">
    <option value="">{{t("field.any")}}</option>
%     for option in one.options:
    <option value="{{option.value}}"{{" selected" if option.value == one.value else ""}}>{{option.title}}{{" (" + option.count + ")" if option.count else ""}}</option>
%     end
  </select></div>
%   elif one.kind == "text":
<div class="field"><label for="{{one.id}}">{{t("filter.contains", field=one.title)}}</label><input type="text" id="{{one.id}}" name="{{one.name}}" value="{{one.value}}" dir="auto"></div>
%   else:
<fieldset class="field range{{" wrong" if wrong else ""}}"><legend>{{one.title}}</legend>
%     for number, (end, words) in enumerate(((one.from_, "filter.from"), (one.to, "filter.to"))):
%       error = wrong.get(end.name, "")
  <div class="end"><label for="{{one.id}}{{"-to" if number else ""}}">{{t(words)}}</label>
%       if error:
    <p class="error" id="{{one.id}}-error-{{number}}">{{error}}</p>
%       end
    <input type="{{end.type}}" id="{{one.id}}{{"-to" if number else ""}}" name="{{end.name}}" value="{{end.value}}"\\
%       if end.mode:
 inputmode="{{end.mode}}"\\
%       end
%       if error:
 aria-invalid="true" aria-describedby="{{one.id}}-error-{{number}}"\\
%       end
></div>
%     end
</fieldset>
%   end
% end
% if sorts:
<div class="field order"><label for="sorted-by">{{t("table.order")}}</label>
  <select id="sorted-by" name="_sort">
%   for value, title, selected in sorts:
    <option value="{{value}}"{{" selected" if selected else ""}}>{{title}}</option>
%   end
  </select></div>
% end
