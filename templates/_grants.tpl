<%
# What can be given, a row for each thing. Wants: field, of which `groups` says where each choice belongs.
kinds, others = {}, []
for number, option in enumerate(field.options):
    option.id = field.id if number == 0 else f"{field.id}-{number + 1}"
    if option.value not in field.groups:
        others.append(option)
        continue
    end
    kind, title, label = field.groups[option.value]
    option.label = t("picker." + label)
    kinds.setdefault(kind, {}).setdefault(title or t("picker.every"), []).append(option)
end
def box(option, label):
%>
    <span class="choice">
      <input type="checkbox" id="{{option.id}}" name="{{field.name}}" value="{{option.value}}"
%   if option.selected:
        checked
%   end
      >
      <label for="{{option.id}}"><bdi>{{label}}</bdi></label>
    </span>
% end
% for option in others:
%   box(option, option.title)
% end
% for kind, rows in kinds.items():
%   chosen = sum(option.selected for options in rows.values() for option in options)
  <details class="grants"
%   if chosen or len(kinds) == 1 or len(rows) <= 6:
    open
%   end
  >
    <summary>{{t("picker." + kind)}}
%   if chosen:
      <span class="note">{{t("picker.chosen", n=chosen)}}</span>
%   end
    </summary>
    <ul>
%   for title, options in rows.items():
      <li><bdi class="name">{{title}}</bdi>
        <span class="boxes" role="group" aria-label="{{title}}">
%     for option in options:
%       box(option, option.label)
%     end
        </span>
      </li>
%   end
    </ul>
  </details>
% end
