<form class="form" method="post" action="{{page.action}}" novalidate
% if page.multipart:
  enctype="multipart/form-data"
% end
% if page.later:
  data-later="{{page.later}}" data-saved="{{t("drafts.saved_words")}}" data-unsaved="{{t("drafts.unsaved_words")}}"
% end
% if page.moving:
  data-mark="{{page.mark}}"
% end
>
% include('_token.tpl')
% if not subject:
<div class="visually-hidden" aria-hidden="true"><label>{{t("form.trap")}} <input type="text" name="_website" tabindex="-1" autocomplete="off"></label></div>
% end
% if page.turns or any([field.lookup for field in page.fields]):
<button class="visually-hidden" tabindex="-1" aria-hidden="true"></button>
% end
% if page.shown:
<input type="hidden" name="_shown" value="{{page.shown}}">
% end
% if any([field.required or field.must for field in page.fields]):
  <p class="help legend"><span class="must" aria-hidden="true">*</span> {{t("form.star")}}</p>
% end
% if page.conditional:
<input type="hidden" name="_asked" value="">
% end
% for group in page.groups:
%   if group.title:
<fieldset class="section"
%     if group.is_hidden:
  hidden
%     end
>
  <legend><bdi>{{group.title}}</bdi></legend>
%   end
%   for field in group.fields:
%     if field.is_conditional:
<fieldset class="when"
%       if field.when:
  data-when="{{field.when}}"
%       end
%       if field.is_hidden:
  hidden disabled
%       end
>
<input type="hidden" name="_asked" value="{{field.name}}">
%     end
%     include('_field.tpl', field=field)
%     if field.is_conditional:
</fieldset>
%     end
%   end
%   if group.title:
</fieldset>
%   end
% end
% if page.conditional:
<noscript><p class="help">{{t("form.more_help")}}</p></noscript>
% end
  <div class="actions">
    <button class="button solid">{{page.submit}}</button>
% if page.conditional:
    <noscript><button class="button" name="_again" value="more">{{t("form.more")}}</button></noscript>
% end
% if page.later:
    <button class="button" formaction="{{page.later}}">{{t("drafts.later")}}</button>
    <p class="note saved" role="status"></p>
% end
% if page.cancel_href:
    <a class="button" href="{{page.cancel_href}}">{{page.cancel}}</a>
% end
  </div>
</form>
