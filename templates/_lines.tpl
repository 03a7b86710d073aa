% # A field of lines, with buttons for one more and one less. Wants: field, page.
<fieldset class="field lines{{' wrong' if field.error else ''}}" id="{{field.id}}" tabindex="-1" data-lines="{{field.name}}" data-most="{{field.most}}"
% if field.help or field.error:
  aria-describedby="{{" ".join([field.id + end for end, text in (("-help", field.help), ("-error", field.error)) if text])}}"
% end
>
  <legend>{{field.title}}
% if field.required:
    <span class="must" aria-hidden="true" title="{{t("field.required")}}">*</span>
% end
  </legend>
% include('_hints.tpl')
  <div class="each">
% for line in field.lines:
%   include('_line.tpl', line=line, field=field)
% end
  </div>
  <template>
% include('_line.tpl', line=field.blank, field=field)
  </template>
  <div class="adding">
    <button class="button" name="_again" value="add:{{field.name}}" formaction="{{page.action}}#{{field.next}}" formnovalidate
% if field.full:
      hidden
% end
    >{{t("lines.add")}}</button>
% for total in field.totals:
%   if total.error:
    <p class="error" id="{{total.id}}-error">{{total.error}}</p>
%   end
    <p class="total"><label for="{{total.id}}">{{total.title}}</label> <output id="{{total.id}}" tabindex="-1"
%   if total.error:
      aria-describedby="{{total.id}}-error"
%   end
       data-sum="{{total.name}}" data-mark="{{total.mark}}">{{total.text or "—"}}</output></p>
% end
  </div>
  <p class="visually-hidden" role="status" data-removed="{{t("lines.removed")}}"></p>
</fieldset>
